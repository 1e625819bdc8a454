"""How far a pipeline has come: the last streams, and what verify proved."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Self

import msgspec

from headrace import documents
from headrace.documents import Document
from headrace.kafka.cluster import Block
from headrace.kafka.offsets import OffsetRange, Offsets, Placed
from headrace.ledger import verified_receipts
from headrace.ledger.entries import Link, entry_path
from headrace.ledger.entry import Sha256
from headrace.ledger.folder import Folder
from headrace.ledger.identity import read_identity
from headrace.ledger.receipts import Receipt, ReceiptState, receipts


class Started(Document, frozen=True, kw_only=True):
    """`started.json`: the last stream that was not refused."""

    schema: Literal[1] = 1
    run: str
    started_at: datetime


class Streamed(Document, frozen=True, kw_only=True):
    """`streamed.json`: the last stream that ran to its end.

    What committed readers could see when it started is published.
    """

    schema: Literal[1] = 1
    run: str
    started_at: datetime
    ended_at: datetime
    receipts: list[str]
    """Runs whose receipts were complete when it started and not verified yet. By name: moments would compare
    several machines' clocks."""


class Mark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place in the ledger.

    An entry and the SHA-256 of its bytes, which vouches for all entries before it.
    """

    number: int
    sha256: Sha256
    proven_by: int
    """Number of the report that moved the mark here."""


class Recheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A micro-batch that an earlier red named: each run looks at it until it is green again."""

    found_by: int
    """Number of the newest report that named it; an older report says nothing of it."""
    restorable: bool
    """Whether I5 or I8 named it, each time: its entry or files were missing or changed, and their hashes show
    when they are put back."""
    proven: bool
    """Whether it was proven before that."""


class LastRecord(Placed, msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last record of a topic-partition that verify has read.

    If another one is there now, Kafka lost its end and was filled again.
    """

    topic: str
    partition: int
    offset: int
    fingerprint: str
    """Of key, value and timestamp, as 32 hex digits."""

    @classmethod
    def of(cls, block: Block, index: int = -1) -> Self:
        """A record of a block, by default its last."""
        whole = repr((block.keys[index], block.values[index], block.timestamps[index]))
        return cls(
            topic=block.topic,
            partition=block.partition,
            offset=block.offsets[index],
            fingerprint=hashlib.blake2b(whole.encode(), digest_size=16).hexdigest(),
        )

    @property
    def range(self) -> OffsetRange:
        """Its offset alone."""
        return OffsetRange(*self.place, self.offset, self.offset + 1)


class History(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far the present round over the proven micro-batches has come, and the last whole one.

    Each run checks a few of them, in order.
    """

    next: int = 0
    """Where the next run goes on."""
    began_at: datetime | None = None
    """When the present round began."""
    until: int | None = None
    """The last micro-batch of the last whole round."""
    at: datetime | None = None
    """When that round began: each of its micro-batches was checked since."""


class Verified(Document, frozen=True, kw_only=True):
    """`verified.json`: what verify proved, and what it is to look at again."""

    schema: Literal[2] = 2
    number: int = 0
    """Of the newest verify run. A run draws it when it begins, so that no two have the same."""
    checkpoint: str | None = None
    """Of the ledger that was verified: with another one nothing is verified yet."""
    mark: Mark | None = None
    """All micro-batches up to here were proven, except those in `recheck`."""
    earlier: list[Mark] = msgspec.field(default_factory=list)
    """Some of the marks before, the closer to the mark the more: where to go back to if ledger and checkpoint
    are put back from a copy."""
    proved_by: int = 0
    """Number of the last report that proved something new."""
    announced: int = 0
    """Number up to which that was announced to consumers of the data."""
    accepted: list[int] = msgspec.field(default_factory=list)
    """Numbers of the entries of kind `accepted` up to the mark."""
    settled: dict[int, int] = msgspec.field(default_factory=dict)
    """Micro-batch → number of the acceptance that alone made it green. If that is rolled back, the
    micro-batch is red again."""
    gaps_not_checked: dict[int, int] = msgspec.field(default_factory=dict)
    """Per micro-batch, how many gaps could not be looked at, where there are any."""
    recheck: dict[int, Recheck] = msgspec.field(default_factory=dict)
    recheck_receipts: dict[str, int] = msgspec.field(default_factory=dict)
    """Runs whose receipts an earlier red named, and the number of the newest report that did."""
    last_records: list[LastRecord] = msgspec.field(default_factory=list)
    history: History = History()

    @property
    def until(self) -> int:
        """The number of the mark's entry, or -1."""
        return self.mark.number if self.mark else -1


def read_started(folder: Folder) -> Started | None:
    """The last stream that started, or `None`."""
    return documents.read(folder.started, Started) if folder.started.exists() else None


def read_streamed(folder: Folder) -> Streamed | None:
    """The last stream that ran to its end, or `None`."""
    return documents.read(folder.streamed, Streamed) if folder.streamed.exists() else None


def unfinished(folder: Folder) -> Started | None:
    """The last stream, if it did not run to its end."""
    started, streamed = read_started(folder), read_streamed(folder)
    if started is None or (
        streamed and (streamed.run, streamed.started_at) == (started.run, started.started_at)
    ):
        return None
    return started


def read_verified(folder: Folder) -> Verified:
    """What verify proved of the ledger that is there; nothing before the first time."""
    identity, known = read_identity(folder), stored_verified(folder)
    if identity is None or identity.checkpoint in {None, known.checkpoint}:
        return known
    return Verified(number=known.number, checkpoint=identity.checkpoint)


def stored_verified(folder: Folder) -> Verified:
    """`verified.json` as it stands, whichever ledger it is about."""
    return documents.read(folder.verified, Verified) if folder.verified.exists() else Verified()


def is_of_another_checkpoint(folder: Folder) -> bool:
    """Whether `verified.json` speaks of another checkpoint than identity.json.

    One of the two may be in the wrong place, and come back.
    """
    return stored_verified(folder).checkpoint not in {None, read_verified(folder).checkpoint}


def published_runs(folder: Folder) -> set[str]:
    """Runs whose batches were complete before the last finished stream and are not verified yet.

    Runs to recheck are among them. They go by name, so that a receipt that went away is missed.
    """
    streamed, verified = read_streamed(folder), read_verified(folder)
    return {*verified.recheck_receipts, *(streamed.receipts if streamed else [])}


def streamed_runs(folder: Folder, before: Sequence[Receipt]) -> list[str]:
    """The names for `streamed.json`.

    Receipts that were complete before the stream, and those of earlier streams that are not verified yet.
    """
    return sorted(
        {receipt.run for receipt in before}
        | {run for run in published_runs(folder) if not verified_receipts.is_settled(folder, run)}
    )


def completed_receipts(folder: Folder) -> list[Receipt]:
    """The receipts that are complete by now and not verified yet.

    A stream that starts now must publish their records.
    """
    return [receipt for receipt in receipts(folder) if receipt.state == ReceiptState.COMPLETE]


def roll_back(folder: Folder, newest: Link | None) -> None:
    """Forget what was proven of what is not there any more.

    Ledger and checkpoint may have been put back together from an older copy, or there is another ledger.
    """
    with folder.locked("the opening of the ledger", lock=Folder.VERIFIED_LOCK, timeout=Folder.BRIEFLY):
        known = read_verified(folder)
        until = newest.entry.number if newest else -1
        is_another = is_of_another_checkpoint(folder)
        is_behind = (
            max(known.until, *known.recheck, -1) > until
            or _is_another_entry(known, newest)
            or (newest is None and known.checkpoint)
        )
        if newest and not is_another and not is_behind:
            return
        ends = newest.entry.offsets if newest else Offsets()
        marks = [
            mark
            for mark in [*known.earlier, *filter(None, [known.mark])]
            if entry_sha256(folder, mark.number) == mark.sha256
        ]
        verified_receipts.take_back(folder, Offsets() if is_another else ends)
        if not is_behind and not is_another:
            return
        until_mark = marks[-1].number if marks else -1
        # Another entry may have the number now.
        recheck = {
            number: msgspec.structs.replace(found, proven=found.proven and number <= until_mark)
            for number, found in known.recheck.items()
            if number <= until
        }
        unsettled = {number for number, by in known.settled.items() if by > until >= number}
        recheck |= {
            number: Recheck(found_by=known.number, restorable=False, proven=False) for number in unsettled
        }
        rolled_back = msgspec.structs.replace(
            known,
            # If nothing of it is left, Spark may make another.
            checkpoint=known.checkpoint if newest else None,
            mark=marks[-1] if marks else None,
            earlier=marks[:-1],
            recheck=recheck,
            accepted=[number for number in known.accepted if number <= until_mark],
            settled={number: by for number, by in known.settled.items() if by <= until},
            gaps_not_checked={
                number: gaps for number, gaps in known.gaps_not_checked.items() if number <= until_mark
            },
            last_records=[last for last in known.last_records if last.offset < ends.get(last.place, 0)],
            history=History(),
        )
        documents.write(folder.verified, rolled_back)


def _is_another_entry(known: Verified, newest: Link | None) -> bool:
    """Whether the newest entry has the mark's number and is another one: it was put back from a copy."""
    return bool(
        known.mark
        and newest
        and (newest.entry.number, newest.sha256) != (known.until, known.mark.sha256)
        and newest.entry.number == known.until
    )


def advanced(earlier: Sequence[Mark], mark: Mark) -> list[Mark]:
    """The marks to remember before a new one: of the distances from it about one in each power of two."""
    kept: list[Mark] = []
    least = 1
    for each in reversed(earlier):
        if (distance := mark.number - each.number) >= least:
            kept.append(each)
            least = 2 * distance
    return kept[::-1]


def entry_sha256(folder: Folder, number: int) -> str | None:
    """SHA-256 of a micro-batch's entry as it lies there, or `None` if it is missing."""
    path = entry_path(folder, number)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
