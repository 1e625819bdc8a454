"""An entry of the ledger: the account of a published micro-batch, or of another event.

Entry 0, 1, 2, …: the numbers are Spark's batch ids. Each entry names the SHA-256 of the one before it, says
where every partition stands after it, and holds the running totals, so that the newest one speaks for the
whole ledger.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from headrace.contract.verdicts import Contract
from headrace.documents import Document, Part
from headrace.kafka.offsets import OffsetRange, Offsets, Placed

RULES = 1
"""Version of the written rules (`docs/contract.md`) by which records are judged now."""

ENTRY_RULES = frozenset({RULES})
"""The versions that verify can judge by."""

COLUMNS = ("kept", "filtered", "quarantined", "gaps")

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,240}\.parquet")
"""Names of data files. Readers pass over a name that begins with a dot or an underscore, and some take other
signs for a pattern or an address."""


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


class EntryKind(StrEnum):
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


CHECKED_KINDS = frozenset({EntryKind.PUBLISHED, EntryKind.ACCEPTED})
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
    kind: EntryKind = EntryKind.PUBLISHED
    number: Annotated[int, msgspec.Meta(ge=0)]
    previous: Sha256 | None
    """SHA-256 of the bytes of the entry before; null for the first."""
    checkpoint: str
    """Id of the checkpoint that the ledger belongs to."""
    run: str
    """The run that wrote it: an Airflow run id, or the name with which the app was submitted."""
    rules: int
    """Version of the written rules (`docs/contract.md`) that its records were judged by."""
    contract: Contract
    """The contract that its records were judged by."""
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
        """Raise `ValueError` unless only entry 0 lacks `previous`, and the details are those of its kind."""
        if (self.number == 0) != (self.previous is None):
            raise ValueError("every entry but the first names the one before it")
        details = {kind: getattr(self, kind) for kind in EntryKind if kind is not EntryKind.PUBLISHED}
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
