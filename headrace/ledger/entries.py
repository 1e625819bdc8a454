"""Entries: the account of each published micro-batch. All of them together are the ledger."""

import itertools
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from headrace import documents
from headrace.contract.verdicts import Contract
from headrace.documents import Document
from headrace.errors import LedgerError
from headrace.ledger.folder import ENTRY, Folder, micro_batch_of
from headrace.ledger.ranges import OffsetRange, Positions, advance


class Account(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
        OffsetRange(self.topic, self.partition, self.from_offset, self.until_offset)

    @property
    def range(self) -> OffsetRange:
        """The offsets it accounts for."""
        return OffsetRange(self.topic, self.partition, self.from_offset, self.until_offset)

    @property
    def read(self) -> int:
        """How many records the range held."""
        return self.kept + self.filtered + self.quarantined

    @property
    def balances(self) -> bool:
        """Whether every offset is accounted for."""
        return min(self.kept, self.filtered, self.quarantined, self.gaps) >= 0 and self.read + self.gaps == len(self.range)


class Span(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one file holds of one topic-partition."""

    topic: str
    partition: int
    lowest_offset: int
    highest_offset: int
    rows: int


class DataFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One published Parquet file: size in bytes, SHA-256 of its content, and the offsets in it."""

    name: str
    bytes: int
    sha256: str
    spans: list[Span]

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(span.rows for span in self.spans)


class Entry(Document, frozen=True, kw_only=True):
    """The account of one published micro-batch, kept as `_entry.json` in its events folder."""

    micro_batch: int
    checkpoint: str
    """Id of the checkpoint that planned it."""
    run: str
    """The run that published it: an Airflow run id, or a name chosen by whoever submitted the app."""
    contract: Contract
    """By which it was judged."""
    planned_at: datetime
    published_at: datetime
    accounts: list[Account]
    events: list[DataFile]
    quarantine: list[DataFile]

    @property
    def ranges(self) -> list[OffsetRange]:
        """The offset ranges it accounts for."""
        return [account.range for account in self.accounts]

    def total(self, column: str) -> int:
        """Sum of `kept`, `filtered`, `quarantined` or `gaps`."""
        return sum(getattr(account, column) for account in self.accounts)


def entries(folder: Folder) -> list[Entry]:
    """The ledger, by micro-batch. Raises `LedgerError` if an entry can't be read or lies in another's folder."""
    return sorted((read_entry(path) for path in folder.events.glob(f"*/{ENTRY}")), key=lambda entry: entry.micro_batch)


def read_entry(path: Path) -> Entry:
    """One entry. Raises `LedgerError` if it can't be read or lies in another micro-batch's folder."""
    entry = documents.read(path, Entry)
    if entry.micro_batch != micro_batch_of(path.parent):
        raise LedgerError(f"{path} is the entry of micro-batch {entry.micro_batch}: it was moved here from another folder. Move it back.")
    return entry


def positions(start: Positions, ledger: Iterable[Entry]) -> Positions:
    """Where the ledger ends. Raises `ValueError` naming the first entry that doesn't join the one before."""
    at = start
    for expected, entry in zip(itertools.count(), ledger, strict=False):
        if entry.micro_batch != expected:
            raise ValueError(f"the entry of micro-batch {expected} is missing")
        try:
            at = advance(at, entry.ranges)
        except ValueError as error:
            raise ValueError(f"micro-batch {entry.micro_batch} does not join: {error}") from error
    return at
