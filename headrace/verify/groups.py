"""Micro-batches that follow each other, judged together.

Whether their published rows are exactly what Kafka's records make of them.

A verdict of "exactly equal" is all that comes from here. Whatever differs or can't be compared is doubted,
and `PublishedRows` alone, micro-batch by micro-batch, says whether something is wrong and what. So a mistake
here can cost time, and hide something only if Arrow calls different rows equal.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from headrace.contract.verdicts import Verdict
from headrace.kafka.cluster import Block
from headrace.kafka.offsets import OffsetRange, TopicPartition, gaps_between, merged, overlap
from headrace.ledger.entry import Account, Entry
from headrace.ledger.folder import Folder
from headrace.ledger.publish import schemas
from headrace.verify.checks.balance import check_account
from headrace.verify.checks.rows import ROWS
from headrace.verify.checks.uniqueness import UNIQUENESS
from headrace.verify.checks.verdicts import VERDICTS
from headrace.verify.expected import HEADERS_KNOWN, compared, expected, published
from headrace.verify.findings import Findings
from headrace.verify.judge import Judge
from headrace.verify.parquet import WrongFileError, read_rows
from headrace.verify.readable import Readable, Split

ROWS_BYTES = 128 << 20
"""Memory for a group's published rows. Files pack equal values together; micro-batches whose rows do not fit
are doubted."""

_PUBLISHED = (Verdict.KEPT, Verdict.QUARANTINED)
_MICRO_BATCH = "_micro_batch"
UNCOMPARABLE = (pa.ArrowException, duckdb.Error, ValueError, TypeError, LookupError, OverflowError)
"""What comparing may raise, by rows or records that Arrow can't hold. Where it is more than that,
`PublishedRows` raises it again."""


@dataclass
class Share:
    """What one entry has of one topic-partition, and what a read of Kafka finds of it."""

    entry: Entry
    account: Account
    part: Split
    """Of the account's range, what Kafka can still be asked for."""
    equal: int = 0
    """How many offsets of that part were compared, their rows being exactly what they should be."""
    records: int = 0
    judged: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))
    gaps: list[OffsetRange] = field(default_factory=list)


@dataclass(frozen=True)
class _Rows:
    """Rows of one topic-partition, sorted by their offsets."""

    table: pa.Table
    offsets: list[int]
    micro_batches: list[int]
    """Numbers of those in whose files the rows are, or should be."""

    @classmethod
    def of(cls, table: pa.Table) -> "_Rows":
        return cls(table, table.column("_offset").to_pylist(), table.column(_MICRO_BATCH).to_pylist())

    def part(self, span: OffsetRange) -> pa.Table:
        return self.table.slice(bisect_left(self.offsets, span.from_offset), _count(self.offsets, span))

    def count_of(self, micro_batch: int, span: OffsetRange) -> int:
        """How many rows of a span are in the files of a micro-batch."""
        first, after = (bisect_left(self.offsets, each) for each in (span.from_offset, span.until_offset))
        return self.micro_batches[first:after].count(micro_batch)


class Group:
    """Consecutive micro-batches of one contract: their published rows, to be compared with blocks of records.

    First `compare` takes all records of `readable`; then `doubted` says which micro-batches are left to
    `PublishedRows`, and `close` accounts for the shares of all others.

    Args:
        folder: the pipeline's
        entries: a group, as `grouped` makes it
        there: what Kafka can still be asked for
        judge: by the contract of the entries

    Attributes:
        shares: of each entry, by its number, in the order of its accounts
    """

    def __init__(self, folder: Folder, entries: Sequence[Entry], there: Readable, judge: Judge) -> None:
        self.judge = judge
        self.shares = {
            entry.number: [Share(entry, each, there.part(each.range)) for each in entry.accounts]
            for entry in entries
        }
        self._places: dict[TopicPartition, list[Share]] = defaultdict(list)
        for share in (share for shares in self.shares.values() for share in shares):
            self._places[share.account.place].append(share)
        self._read = dict.fromkeys(self.shares, 0)
        """Rows in the files of each entry."""
        self._found = dict.fromkeys(self.shares, 0)
        """Rows that lie in a range of the very entry whose files hold them."""
        self._unreadable: set[int] = set()
        self._columns = {
            verdict: {_MICRO_BATCH: _MICRO_BATCH, **names}
            for verdict, names in compared(judge.contract).items()
        }
        rows = self._read_files(folder, entries)
        self._rows = {
            place: {verdict: self._of_place(rows[verdict], verdict, place) for verdict in _PUBLISHED}
            for place in self._places
        }
        for place, shares in self._places.items():
            for share in shares:
                self._found[share.entry.number] += sum(
                    self._rows[place][verdict].count_of(share.entry.number, share.account.range)
                    for verdict in _PUBLISHED
                )

    @cached_property
    def doubted(self) -> set[int]:
        """The numbers of the micro-batches that nothing can be said of here.

        All but those whose every row and record was found equal. A row without a position, or outside of its
        entry's ranges, is in no comparison: then fewer rows were found than read.
        """
        return {
            number
            for number, shares in self.shares.items()
            if number in self._unreadable
            or self._found[number] != self._read[number]
            or any(
                share.equal != (len(share.part.readable) if share.part.readable else 0) for share in shares
            )
        }

    @property
    def readable(self) -> list[OffsetRange]:
        """What of the ranges can be read, joined."""
        return [
            each
            for shares in self._places.values()
            for each in merged(share.part.readable for share in shares if share.part.readable)
        ]

    def compare(self, block: Block, span: OffsetRange) -> None:
        """Compare the rows of a span of offsets with a block, which holds all records of that span."""
        shares = [
            (share, part)
            for share in self._places[span.place]
            if (part := overlap(share.part.readable, span))
        ]
        for share, part in shares:
            own = block.offsets[
                bisect_left(block.offsets, part.from_offset) : bisect_left(block.offsets, part.until_offset)
            ]
            share.records += len(own)
            share.gaps += gaps_between(part, own)
        with suppress(*UNCOMPARABLE):
            self._compare(block, span, shares)

    def _compare(self, block: Block, span: OffsetRange, shares: Sequence[tuple[Share, OffsetRange]]) -> None:
        records = expected(self.judge, block)
        owners = [
            number for share, part in shares for number in [share.entry.number] * _count(block.offsets, part)
        ]
        records = records.append_column(_MICRO_BATCH, pa.array(owners, pa.int64()))
        found = self._rows[span.place]
        wanted = {}
        for verdict, names in self._columns.items():
            own = published(records, verdict, names)
            # DuckDB calls the time zone of timestamps Etc/UTC.
            wanted[verdict] = _Rows.of(own.cast(found[verdict].table.schema))

        def is_equal(part: OffsetRange) -> bool:
            return all(wanted[verdict].part(part).equals(found[verdict].part(part)) for verdict in _PUBLISHED)

        is_whole = is_equal(span)
        for share, part in shares:
            if is_whole or is_equal(part):
                share.equal += len(part)
            for verdict in _PUBLISHED:
                share.judged[verdict] += _count(wanted[verdict].offsets, part)

    def close(self, share: Share, findings: Findings) -> None:
        """I6 for a share of a micro-batch that is not doubted, and what was checked of it."""
        number, missing = share.entry.number, share.part.missing
        rows = self._rows[share.account.place]
        kept, unusable = (rows[verdict].count_of(number, missing) if missing else 0 for verdict in _PUBLISHED)
        published = sum(share.judged[verdict] for verdict in _PUBLISHED)
        judged = {**share.judged, Verdict.FILTERED: share.records - published}
        findings.checked[VERDICTS] += share.records
        findings.checked[UNIQUENESS] += published
        findings.checked[ROWS] += published
        check_account(share.account, judged, share.records, missing, (kept, unusable), number, findings)

    @property
    def gaps(self) -> dict[TopicPartition, dict[int, list[OffsetRange]]]:
        """Per topic-partition with any: the offsets without a record, by micro-batch.

        Doubted micro-batches are left out.
        """
        found = {
            place: {
                share.entry.number: share.gaps
                for share in shares
                if share.gaps and share.entry.number not in self.doubted
            }
            for place, shares in self._places.items()
        }
        return {place: of_place for place, of_place in found.items() if of_place}

    def _read_files(self, folder: Folder, entries: Sequence[Entry]) -> dict[Verdict, pa.Table]:
        """The published rows of all entries, with the number of the entry whose files hold them."""
        kept, unusable = schemas(self.judge.contract)
        tables = {Verdict.KEPT: [kept.empty_table()], Verdict.QUARANTINED: [unusable.empty_table()]}
        numbers: dict[Verdict, list[int]] = {verdict: [] for verdict in tables}
        left = ROWS_BYTES
        for entry in entries:
            try:
                for verdict, kind, files, schema in (
                    (Verdict.KEPT, folder.events, entry.events, kept),
                    (Verdict.QUARANTINED, folder.quarantine, entry.quarantine, unusable),
                ):
                    for file in files:
                        table = read_rows(folder.published(kind, entry.number) / file.name, schema, left)
                        left -= table.nbytes
                        self._read[entry.number] += table.num_rows
                        tables[verdict].append(table)
                        numbers[verdict] += [entry.number] * table.num_rows
            except WrongFileError:
                self._unreadable.add(entry.number)
        return {
            verdict: pa.concat_tables(each)
            .combine_chunks()
            .append_column(_MICRO_BATCH, pa.array(numbers[verdict], pa.int64()))
            for verdict, each in tables.items()
        }

    def _of_place(self, table: pa.Table, verdict: Verdict, place: TopicPartition) -> _Rows:
        """The rows of a topic-partition, with the columns that are compared."""
        topic, partition = (
            pc.equal(table.column(name), value)
            for name, value in zip(("_topic", "_partition"), place, strict=True)
        )
        own = table.filter(pc.and_(pc.and_(topic, partition), pc.is_valid(table.column("_offset")))).sort_by(
            "_offset"
        )
        if verdict is Verdict.QUARANTINED:
            own = own.append_column(HEADERS_KNOWN, pa.repeat(True, own.num_rows))
        return _Rows.of(own.select(list(self._columns[verdict].values())))


def _count(offsets: Sequence[int], span: OffsetRange) -> int:
    return bisect_left(offsets, span.until_offset) - bisect_left(offsets, span.from_offset)
