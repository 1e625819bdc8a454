"""What verify checks, and what it found."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from headrace.kafka.offsets import OffsetRange, TopicPartition
from headrace.verify import result

SHOWN = 20
"""Findings kept per invariant; all are counted."""


@dataclass(frozen=True)
class Advice:
    """What a broken invariant means to users of the records, and what to do; `{pipeline}` is filled in."""

    means: str
    do: str


@dataclass(frozen=True, eq=False)
class Invariant:
    """Something that verify checks.

    Each has a file of its own in `headrace.verify.checks`, and all are in `headrace.verify.invariants`.

    Attributes:
        id: I1 to I10, as documents and messages have it.
        word: What it is about: the headline comes before anything explains the id.
        title: What holds, in a sentence.
        unit: What is counted as checked.
        advice: For when it is broken.
        is_about_published: Whether a finding casts doubt on what is published.
        is_restorable: Whether hashes show that what was missing or altered has been put back.
    """

    id: str
    word: str
    title: str
    unit: str
    advice: Advice
    is_about_published: bool = True
    is_restorable: bool = False


@dataclass
class _Group:
    """Records with the same thing wrong."""

    count: int = 0
    offsets: list[int] = field(default_factory=list)
    lowest: int = 0
    highest: int = 0


@dataclass
class Findings:
    """Collects what was checked and found.

    Equal findings about records are reported once, with their offsets.
    """

    checked: Counter[Invariant] = field(default_factory=Counter)
    found_by_invariant: dict[Invariant, list[result.Finding]] = field(default_factory=dict)
    count: Counter[Invariant] = field(default_factory=Counter)
    broken: set[Invariant] = field(default_factory=set)
    unchecked: set[Invariant] = field(default_factory=set)
    groups: dict[tuple[Invariant, str, TopicPartition, int | None, str | None], _Group] = field(
        default_factory=dict
    )
    micro_batches: set[int] = field(default_factory=set)
    """All that have a finding, also where only some of the findings are kept."""
    restorable: set[int] = field(default_factory=set)
    """Those of them whose entry or files were missing or altered: hashes show when they are put back."""
    receipts: set[str] = field(default_factory=set)
    """Runs whose receipts were."""
    by_micro_batch: set[tuple[Invariant, int]] = field(default_factory=set)
    doubts_everything: bool = False
    """Whether something is wrong with what all micro-batches rest on, so that none is proven by this run."""

    def add(
        self,
        invariant: Invariant,
        message: str,
        *,
        unverifiable: bool = False,
        doubts_everything: bool = False,
        **where: Any,
    ) -> None:
        """One finding; `where` as in `headrace.verify.result.Finding`."""
        self.count[invariant] += 1
        self.doubts_everything |= doubts_everything
        self._remember(invariant, where.get("micro_batch"), where.get("receipt"))
        if not unverifiable:
            self.broken.add(invariant)
        known = self.found_by_invariant.setdefault(invariant, [])
        if len(known) < SHOWN:
            known.append(result.Finding(message=_encodable(message), **where))

    def add_range(
        self,
        invariant: Invariant,
        message: str,
        offset_range: OffsetRange,
        *,
        unverifiable: bool = False,
        **where: Any,
    ) -> None:
        """One finding about an offset range."""
        self.add(
            invariant, message, unverifiable=unverifiable, **msgspec.structs.asdict(offset_range), **where
        )

    def add_record(
        self,
        invariant: Invariant,
        what: str,
        place: TopicPartition,
        offset: int,
        *,
        micro_batch: int | None = None,
        receipt: str | None = None,
    ) -> None:
        """Something wrong with one record."""
        self._remember(invariant, micro_batch, receipt)
        group = self.groups.setdefault(
            (invariant, what, place, micro_batch, receipt), _Group(lowest=offset, highest=offset)
        )
        group.count += 1
        group.lowest, group.highest = min(group.lowest, offset), max(group.highest, offset)
        if len(group.offsets) < SHOWN:
            group.offsets.append(offset)

    @property
    def any(self) -> bool:
        """Whether anything was found."""
        return bool(self.count or self.groups)

    def has(self, invariant: Invariant, micro_batch: int | None = None) -> bool:
        """Whether anything was found against an invariant, of one micro-batch or at all."""
        return (
            self.count[invariant] > 0
            if micro_batch is None
            else (invariant, micro_batch) in self.by_micro_batch
        )

    def take(self, other: "Findings") -> None:
        """Add what others hold, and leave them empty of groups."""
        other.tell_groups()
        self.checked += other.checked
        for invariant, found in other.found_by_invariant.items():
            known = self.found_by_invariant.setdefault(invariant, [])
            known += found[: SHOWN - len(known)]
        self.count += other.count
        self.broken |= other.broken
        self.unchecked |= other.unchecked
        self.micro_batches |= other.micro_batches
        self.restorable |= other.restorable
        self.receipts |= other.receipts
        self.by_micro_batch |= other.by_micro_batch
        self.doubts_everything |= other.doubts_everything

    def not_checked(self, invariant: Invariant) -> None:
        """Not all of it could be looked at; if nothing is found, the invariant is neither held nor broken."""
        self.unchecked.add(invariant)

    def outcomes(self, invariants: Iterable[Invariant]) -> list[result.Invariant]:
        """The outcome of each invariant."""
        self.tell_groups()
        outcome = []
        for invariant in invariants:
            found = self.found_by_invariant.get(invariant, [])
            if invariant in self.broken:
                state = result.InvariantState.BROKEN
            elif self.count[invariant]:
                state = result.InvariantState.UNVERIFIABLE
            elif invariant in self.unchecked:
                state = result.InvariantState.NOT_CHECKED
            else:
                state = result.InvariantState.HELD
            outcome.append(
                result.Invariant(
                    id=invariant.id,
                    title=invariant.title,
                    state=state,
                    checked=self.checked[invariant],
                    unit=invariant.unit,
                    found=self.count[invariant],
                    findings=found,
                )
            )
        return outcome

    def _remember(self, invariant: Invariant, micro_batch: int | None, receipt: str | None) -> None:
        if micro_batch is not None:
            self.micro_batches.add(micro_batch)
            self.by_micro_batch.add((invariant, micro_batch))
            if invariant.is_restorable:
                self.restorable.add(micro_batch)
        if receipt is not None:
            self.receipts.add(receipt)

    def tell_groups(self) -> None:
        """Make findings of what was found about records."""
        groups, self.groups = self.groups, {}
        for (invariant, what, place, micro_batch, receipt), group in groups.items():
            offsets = ", ".join(map(str, group.offsets)) + (
                f", … {group.highest}" if group.count > len(group.offsets) else ""
            )
            records = "1 record" if group.count == 1 else f"{group.count:,} records"
            self.add_range(
                invariant,
                f"{records} {what} (offset{'s' * (group.count > 1)} {offsets})",
                OffsetRange(*place, group.lowest, group.highest + 1),
                micro_batch=micro_batch,
                receipt=receipt,
            )


def _encodable(message: str) -> str:
    """A message that can be written as UTF-8: it may quote the name of a file, and those need not be."""
    return message.encode("utf-8", "backslashreplace").decode()
