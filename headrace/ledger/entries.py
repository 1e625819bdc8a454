"""Entries: the account of each published micro-batch, and of every other event.

The chain of all entries is the ledger.

Entry 0, 1, 2, …: the numbers are Spark's batch ids. Each entry names the SHA-256 of the one before it, says
where every partition stands after it, and holds the running totals, so that the newest one speaks for the
whole ledger.
"""

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from headrace import documents
from headrace.contract.verdicts import Contract
from headrace.documents import Document
from headrace.errors import LedgerError
from headrace.kafka.offsets import OffsetRange, Offsets, Placed, advance
from headrace.ledger.folder import ENTRY, Folder, micro_batch_of

RULES = 1
"""Version of the written rules (`docs/contract.md`) by which records are judged now."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,240}\.parquet")
"""Names of data files. Readers pass over a name that begins with a dot or an underscore, and some take other
signs for a pattern or an address."""

ENTRY_RULES = frozenset({RULES})
"""The versions that verify can judge by."""

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of an entry."""


class Account(Placed, Part, frozen=True, kw_only=True):
    """The account of one offset range: its offsets = kept + filtered + quarantined + gaps."""

    topic: str
    partition: int
    from_offset: int
    until_offset: int
    kept: int
    filtered: int
    quarantined: int
    gaps: int

    def __post_init__(self) -> None:
        """Raise `ValueError` for offsets that are no range."""
        _ = self.range

    @property
    def range(self) -> OffsetRange:
        """The offsets it accounts for."""
        return OffsetRange(*self.place, self.from_offset, self.until_offset)

    @property
    def read(self) -> int:
        """How many records the range held."""
        return self.kept + self.filtered + self.quarantined

    @property
    def balances(self) -> bool:
        """Whether every offset is accounted for."""
        return min(
            self.kept, self.filtered, self.quarantined, self.gaps
        ) >= 0 and self.read + self.gaps == len(self.range)


class Span(Placed, Part, frozen=True, kw_only=True):
    """What one file holds of one topic-partition."""

    topic: str
    partition: int
    lowest_offset: int
    highest_offset: int
    rows: int


class DataFile(Part, frozen=True, kw_only=True):
    """One published Parquet file: size in bytes, SHA-256 of its content, and the offsets in it."""

    name: str
    bytes: int
    sha256: str
    spans: list[Span]

    def __post_init__(self) -> None:
        """Raise `ValueError` for a name that leads out of the folder, or that not all readers read."""
        if not _FILE_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no plain name of a Parquet file")

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(span.rows for span in self.spans)


class Totals(Part, frozen=True, kw_only=True):
    """Counts over all entries up to one, that one included."""

    kept: int = 0
    filtered: int = 0
    quarantined: int = 0
    gaps: int = 0

    def plus(self, accounts: Iterable[Account]) -> "Totals":
        """These counts and those of some accounts."""
        sums = {column: getattr(self, column) for column in COLUMNS}
        for account in accounts:
            for column in COLUMNS:
                sums[column] += getattr(account, column)
        return Totals(**sums)

    def less_gaps(self, lost: Iterable[OffsetRange]) -> "Totals":
        """These counts without gaps that were accepted as lost."""
        return msgspec.structs.replace(self, gaps=self.gaps - sum(map(len, lost)))


COLUMNS = ("kept", "filtered", "quarantined", "gaps")


class Kind(StrEnum):
    """What an entry accounts for."""

    PUBLISHED = "published"
    """A micro-batch."""
    ACCEPTED = "accepted"
    """Offsets that can't be published or proven any more."""
    REDRIVEN = "redriven"
    """Quarantined records that were judged again, by another contract."""
    COMPACTED = "compacted"
    """Many small files, written again as a few large ones."""
    EXPIRED = "expired"
    """Files that were removed because of their age."""


CHECKED_KINDS = frozenset({Kind.PUBLISHED, Kind.ACCEPTED})
"""The kinds that this version writes and can check."""


class PublishedFile(Part, frozen=True, kw_only=True):
    """A file that an earlier entry published."""

    number: int
    folder: Literal["events", "quarantine"]
    name: str


class Acceptance(Part, frozen=True, kw_only=True):
    """Who accepted what, and why. The ledger's end moves behind `lost` offsets that follow it."""

    by: str
    reason: str
    lost: list[OffsetRange]
    """Never published, gone from Kafka."""
    unproven: list[OffsetRange]
    """Published, gone from Kafka before verify read them; their rows stay."""
    shown: Sha256 | None
    """SHA-256 of the list that was shown before the question was answered; null for an answer on the command
    line."""


class Redrive(Part, frozen=True, kw_only=True):
    """Which quarantined records were judged again. The entry's own files hold what became of them."""

    by: str
    reason: str
    replaced: list[PublishedFile]
    moved: dict[str, dict[int, Totals]]
    """Topic → partition → the new verdicts of these records."""


class Compaction(Part, frozen=True, kw_only=True):
    """Which files the entry's own files replace."""

    replaced: list[PublishedFile]


class Expiry(Part, frozen=True, kw_only=True):
    """Which files were removed, by whose rule."""

    by: str
    reason: str
    before: datetime
    removed: list[PublishedFile]


class Entry(Document, frozen=True, kw_only=True):
    """One link of the ledger, kept as `_entry.json` in its events folder, `events/micro_batch=<number>`."""

    schema: Literal[2] = 2
    kind: Kind = Kind.PUBLISHED
    number: Annotated[int, msgspec.Meta(ge=0)]
    previous: Sha256 | None
    """SHA-256 of the bytes of the entry before; null for the first."""
    checkpoint: str
    """Id of the checkpoint that the ledger belongs to."""
    run: str
    """The run that wrote it: an Airflow run id, or the name with which the app was submitted."""
    rules: int
    """Version of the written rules (`docs/contract.md`) by which it was judged."""
    contract: Contract
    """By which it was judged."""
    planned_at: datetime
    published_at: datetime
    starts: Offsets
    """The first offset of each partition that this entry is the first to account for."""
    offsets: Offsets
    """The next offset of every partition after this entry."""
    accounts: list[Account]
    totals: Totals
    """Over all entries up to this one."""
    events: list[DataFile]
    quarantine: list[DataFile]
    accepted: Acceptance | None = None
    redriven: Redrive | None = None
    compacted: Compaction | None = None
    expired: Expiry | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for what cannot be.

        A first entry with one before it, details of another kind.
        """
        if (self.number == 0) != (self.previous is None):
            raise ValueError("every entry but the first names the one before it")
        details = {kind: getattr(self, kind) for kind in Kind if kind is not Kind.PUBLISHED}
        if [kind for kind, detail in details.items() if detail is not None] != [
            kind for kind in details if kind is self.kind
        ]:
            raise ValueError(f"an entry of kind {self.kind} has its own details and no others")

    @property
    def ranges(self) -> list[OffsetRange]:
        """The offset ranges it accounts for."""
        return [account.range for account in self.accounts]

    def total(self, column: str) -> int:
        """Sum of its `kept`, `filtered`, `quarantined` or `gaps`."""
        return sum(getattr(account, column) for account in self.accounts)


class Link(msgspec.Struct, frozen=True):
    """An entry, and the SHA-256 of its bytes: what the next one names."""

    entry: Entry
    sha256: str


def entry_path(folder: Folder, number: int) -> Path:
    """Where an entry lies."""
    return folder.published(folder.events, number) / ENTRY


def read_link(folder: Folder, number: int) -> Link:
    """One entry.

    Raises `LedgerError` if it is missing, can't be read, or lies in another micro-batch's folder.
    """
    path = entry_path(folder, number)
    try:
        data = documents.content(path)
    except FileNotFoundError as error:
        raise LedgerError(f"{path} is missing. Put back a copy.") from error
    except OSError as error:
        raise LedgerError(f"{path} can't be read: {error.strerror}. Put back a copy.") from error
    entry = documents.decode(path, data, Entry)
    if entry.number != micro_batch_of(path.parent):
        raise LedgerError(
            f"{path} is the entry of micro-batch {entry.number}: it was moved here from another folder. Move it back."
        )
    return Link(entry, hashlib.sha256(data).hexdigest())


def newest_number(folder: Folder, near: int = -1) -> int:
    """The number of the newest entry, whatever is in it; -1 before the first.

    near  a number that may be that of an entry: from there on it takes no listing of the folder
    """
    if near < 0 or not entry_path(folder, near).exists():
        near = max(published_numbers(folder), default=-1)
    while entry_path(folder, near + 1).exists():
        near += 1
    return near


def published_numbers(folder: Folder) -> list[int]:
    """The numbers of all entries, in order, by the names of their folders.

    A folder far behind the others that holds no entry of that number was put there by accident: it is not the
    newest one.
    """
    numbers = folder.micro_batches()
    while numbers and not _belongs(folder, numbers):
        numbers.pop()
    return numbers


def _belongs(folder: Folder, numbers: list[int]) -> bool:
    if not entry_path(folder, numbers[-1]).exists():
        return False
    try:
        return (
            numbers[-1] - 1 in {-1, *numbers[-2:-1]}
            or read_link(folder, numbers[-1]).entry.number == numbers[-1]
        )
    except LedgerError:
        return False


def newest_link(folder: Folder) -> Link | None:
    """The newest entry, or `None` before the first.

    Raises `LedgerError` if it can't be read, or a micro-batch's folder before it is missing.
    """
    numbers = published_numbers(folder)
    if not numbers:
        return None
    missing = next((place for place, number in enumerate(numbers) if place != number), None)
    if missing is not None:
        raise LedgerError(
            f"The ledger in {folder.root} is broken: {folder.published(folder.events, missing)} is missing. Put back a copy."
        )
    return read_link(folder, numbers[-1])


def entries(folder: Folder) -> list[Entry]:
    """The whole ledger, in order. Raises `LedgerError` like `read_link`."""
    return [read_link(folder, number).entry for number in published_numbers(folder)]


def joined(before: Link | None, entry: Entry) -> str | None:
    """Why an entry does not follow the one before it, or `None` if it does.

    before  `None` where `entry` is the first
    """
    if entry.number != (before.entry.number + 1 if before else 0):
        return f"the entry of micro-batch {before.entry.number + 1 if before else 0} is missing"
    if before and entry.previous != before.sha256:
        return f"micro-batch {entry.number} follows another entry of micro-batch {before.entry.number} than the one on disk; entries never change"
    return _misfit(before.entry if before else None, entry) if entry.kind in CHECKED_KINDS else None


def _misfit(before: Entry | None, entry: Entry) -> str | None:
    """Why an entry's ranges and totals do not go on where the entry before ends."""
    at = before.offsets if before else Offsets()
    if known := [place for place in entry.starts if place in at]:
        return f"micro-batch {entry.number} starts {known[0]} a second time"
    stands = at | entry.starts
    try:
        within, behind = split_lost(entry.accepted, stands)
        ends = advance(stands, [*entry.ranges, *behind])
    except ValueError as error:
        return f"micro-batch {entry.number} does not join: {error}"
    if ends != entry.offsets:
        return f"micro-batch {entry.number} ends at {entry.offsets}, its ranges at {ends}"
    if (
        totals := (before.totals if before else Totals()).plus(entry.accounts).less_gaps(within)
    ) != entry.totals:
        return f"micro-batch {entry.number} claims totals of {entry.totals}, the accounts up to it add up to {totals}"
    return None


def split_lost(accepted: Acceptance | None, stands: Offsets) -> tuple[list[OffsetRange], list[OffsetRange]]:
    """The lost ranges of an acceptance.

    Those within what was published before, and those behind it, which move the ledger's end.

    stands  the next offset of each partition before the acceptance
    Raises `ValueError` for a range that is neither, or for an unproven one that was never published.
    """
    within: list[OffsetRange] = []
    behind: list[OffsetRange] = []
    for each in accepted.lost if accepted else ():
        (within if each.until_offset <= stands.get(each.place, 0) else behind).append(each)
    for each in accepted.unproven if accepted else ():
        if each.until_offset > stands.get(each.place, 0):
            raise ValueError(f"{each} was never published, so it can't be unproven")
    return within, behind
