"""What verify checks, and what it found."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from headrace.report import model

SHOWN = 20
"""Findings kept per invariant; all are counted."""


class Invariant(StrEnum):
    """The eight invariants."""

    RECEIPTS_LANDED = "I1"
    ROWS_UNIQUE = "I2"
    KEYS_UNIQUE = "I3"
    ROWS_EQUAL = "I4"
    RANGES_JOIN = "I5"
    BALANCE = "I6"
    VERDICTS_EQUAL = "I7"
    FILES_EQUAL = "I8"


TITLES = {
    Invariant.RECEIPTS_LANDED: ("each batch, read back, is what its receipt says and lies in published ranges", "receipts"),
    Invariant.ROWS_UNIQUE: ("topic, partition and offset are unique over all files that entries name", "rows"),
    Invariant.KEYS_UNIQUE: ("no record of a batch is in Kafka twice", "keys"),
    Invariant.ROWS_EQUAL: ("each row equals the broker's bytes, decoded independently", "rows"),
    Invariant.RANGES_JOIN: ("offset ranges join from the start to the checkpoint's last commit", "entries"),
    Invariant.BALANCE: ("kept + filtered + quarantined + gaps = offsets in the range; gaps are confirmed", "ranges"),
    Invariant.VERDICTS_EQUAL: ("the second engine gives each record the same verdict and reason", "records"),
    Invariant.FILES_EQUAL: (
        "the files are those of the entries, no more and no fewer; those checked now are unchanged to the byte",
        "files",
    ),
}


@dataclass
class _Group:
    """Records with the same thing wrong."""

    count: int = 0
    offsets: list[int] = field(default_factory=list)
    lowest: int = 0
    highest: int = 0


@dataclass
class Findings:
    """Collects what was checked and found; equal findings about records are told once, with their offsets."""

    checked: Counter[Invariant] = field(default_factory=Counter)
    _found: dict[Invariant, list[model.Finding]] = field(default_factory=dict)
    _count: Counter[Invariant] = field(default_factory=Counter)
    _broken: set[Invariant] = field(default_factory=set)
    _groups: dict[tuple[Invariant, str, str, int, int | None, str | None], _Group] = field(default_factory=dict)
    micro_batches: set[int] = field(default_factory=set)
    """All those that were found wanting, however few of the findings are told."""
    restorable: set[int] = field(default_factory=set)
    """Those of them whose entry or files were missing or others: hashes tell when they are put back."""
    receipts: set[str] = field(default_factory=set)
    """Runs whose receipts were."""

    def add(self, invariant: Invariant, message: str, *, unverifiable: bool = False, **where: Any) -> None:
        """One finding; `where` as in `headrace.report.model.Finding`."""
        self._count[invariant] += 1
        if not unverifiable:  # what is, stays in the scope as long as it was never verified
            self._remember(invariant, where.get("micro_batch"), where.get("receipt"))
            self._broken.add(invariant)
        known = self._found.setdefault(invariant, [])
        if len(known) < SHOWN:
            known.append(model.Finding(message=message, **where))

    def add_record(
        self,
        invariant: Invariant,
        what: str,
        topic: str,
        partition: int,
        offset: int,
        *,
        micro_batch: int | None = None,
        receipt: str | None = None,
    ) -> None:
        """Something wrong with one record."""
        self._remember(invariant, micro_batch, receipt)
        group = self._groups.setdefault((invariant, what, topic, partition, micro_batch, receipt), _Group(lowest=offset, highest=offset))
        group.count += 1
        group.lowest, group.highest = min(group.lowest, offset), max(group.highest, offset)
        if len(group.offsets) < SHOWN:
            group.offsets.append(offset)

    @property
    def any(self) -> bool:
        """Whether anything was found."""
        return bool(self._count or self._groups)

    def has(self, invariant: Invariant) -> bool:
        """Whether anything was found against an invariant."""
        return self._count[invariant] > 0

    def invariants(self) -> list[model.Invariant]:
        """The outcome of each invariant."""
        self._tell_groups()
        outcome = []
        for invariant, (title, unit) in TITLES.items():
            found = self._found.get(invariant, [])
            if invariant in self._broken:
                state = model.InvariantState.BROKEN
            else:
                state = model.InvariantState.UNVERIFIABLE if self._count[invariant] else model.InvariantState.HELD
            outcome.append(
                model.Invariant(
                    id=invariant.value,
                    title=title,
                    state=state,
                    checked=self.checked[invariant],
                    unit=unit,
                    found=self._count[invariant],
                    findings=found,
                )
            )
        return outcome

    def _remember(self, invariant: Invariant, micro_batch: int | None, receipt: str | None) -> None:
        if micro_batch is not None:
            self.micro_batches.add(micro_batch)
            if invariant in {Invariant.RANGES_JOIN, Invariant.FILES_EQUAL}:
                self.restorable.add(micro_batch)
        if receipt is not None:
            self.receipts.add(receipt)

    def _tell_groups(self) -> None:
        groups, self._groups = self._groups, {}
        for (invariant, what, topic, partition, micro_batch, receipt), group in groups.items():
            offsets = ", ".join(map(str, group.offsets)) + (f", … {group.highest}" if group.count > len(group.offsets) else "")
            records = "1 record" if group.count == 1 else f"{group.count:,} records"
            self.add(
                invariant,
                f"{records} {what} (offset{'s' * (group.count > 1)} {offsets})",
                topic=topic,
                partition=partition,
                from_offset=group.lowest,
                until_offset=group.highest + 1,
                micro_batch=micro_batch,
                receipt=receipt,
            )
