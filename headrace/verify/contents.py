"""What a report says of the data itself: sums, counts per minute and reason, a few rows."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.kafka.offsets import TopicPartition
from headrace.ledger.entry import COLUMNS, DataFile, Entry
from headrace.ledger.folder import Folder
from headrace.ledger.publish import schemas
from headrace.verify import engine, result
from headrace.verify.accepted import Accepted
from headrace.verify.parquet import has_columns
from headrace.verify.resources import raise_if_short

SAMPLES = 5
MAX_MINUTES = 10_080
"""The newest that hold any record, a week's worth; the rest is not in the report."""
SAMPLE_CHARACTERS = 200
_MINUTES = """
    SELECT epoch_us(_timestamp) // 60_000_000 AS minute, count(*) FROM rows WHERE year(_timestamp) <= 9999 GROUP BY ALL ORDER BY ALL DESC LIMIT ?
"""
"""Left out: records without a timestamp, and moments that Python does not know."""
_FIRST = """
    SELECT _topic, _partition, _offset, CASE WHEN year(_timestamp) <= 9999 THEN epoch_ms(_timestamp) END, left(try(decode(_key)), {characters}), {values}
    FROM rows WHERE _topic = ? AND _partition = ? AND _offset IS NOT NULL ORDER BY _offset LIMIT ?
"""


@dataclass(frozen=True)
class Contents:
    """What the micro-batches of a scope hold."""

    balance: list[result.Balance]
    quarantine: list[result.Reason]
    kept_per_minute: list[result.Minute]
    samples: list[result.Sample]
    micro_batches: list[result.MicroBatch]

    @classmethod
    def of(
        cls,
        folder: Folder,
        chosen: Sequence[Entry],
        accepted: Accepted,
        database: duckdb.DuckDBPyConnection,
        *,
        damaged: bool,
    ) -> "Contents":
        """Read it.

        If verify found files `damaged`, what can't be read is left out; otherwise `duckdb.Error` is raised.
        """
        there = [_files(folder, entry, damaged=damaged) for entry in chosen]
        events = [path for kept, _ in there for path in kept.values()]
        unusable = [path for _, quarantined in there for path in quarantined.values()]
        ask = partial(_query, database, damaged=damaged)
        reasons = ask(
            "SELECT coalesce(reason, 'none') AS reason, field, count(*) FROM rows GROUP BY ALL ORDER BY ALL",
            unusable,
            [],
        )
        minutes = reversed(ask(_MINUTES, events, [MAX_MINUTES]))
        found = samples(chosen, [kept for kept, _ in there], ask)
        return cls(
            balance=balance(chosen, accepted),
            quarantine=[
                result.Reason(reason=reason, field=field, count=count) for reason, field, count in reasons
            ],
            kept_per_minute=[
                result.Minute(minute=datetime.fromtimestamp(minute * 60, UTC), kept=count)
                for minute, count in minutes
            ],
            samples=found,
            micro_batches=[_micro_batch(entry, accepted) for entry in chosen],
        )


def balance(chosen: Iterable[Entry], accepted: Accepted) -> list[result.Balance]:
    """The account of each topic-partition over some entries.

    Where entries between them are left out, one for each stretch.
    """
    stretches: dict[TopicPartition, list[result.Balance]] = {}
    for row in sorted(
        (row for entry in chosen for row in _rows(entry, accepted)),
        key=lambda row: (row.topic, row.partition, row.from_offset),
    ):
        known = stretches.setdefault(TopicPartition(row.topic, row.partition), [])
        if known and known[-1].until_offset == row.from_offset:
            before = known.pop()
            sums = {column: getattr(before, column) + getattr(row, column) for column in (*COLUMNS, "lost")}
            row = msgspec.structs.replace(row, from_offset=before.from_offset, **sums)  # noqa: PLW2901
        known.append(row)
    return [row for _, rows in sorted(stretches.items()) for row in rows]


def _rows(entry: Entry, accepted: Accepted) -> Iterator[result.Balance]:
    """What an entry accounts for.

    A micro-batch's ranges, or offsets behind them that were accepted as lost.
    """
    for account in entry.accounts:
        lost = accepted.lost_of(account.range)
        yield result.Balance(**msgspec.structs.asdict(account) | {"gaps": account.gaps - lost, "lost": lost})
    for each in accepted.moved(entry):
        yield result.Balance(
            **msgspec.structs.asdict(each), kept=0, filtered=0, quarantined=0, gaps=0, lost=len(each)
        )


def samples(
    chosen: Sequence[Entry],
    kept: Sequence[dict[str, Path]],
    ask: Callable[[str, Sequence[Path], Sequence[object]], list[Any]],
) -> list[result.Sample]:
    """A few kept rows, shortened, from as many partitions as there are.

    Args:
        kept: For each entry the files with its kept rows that can be read, by name.
        ask: Runs a query over some files with these values, and gives its rows.
    """
    columns = list(chosen[-1].contract.columns) if chosen else []
    values = ", ".join(f'left("{name}"::VARCHAR, {SAMPLE_CHARACTERS})' for name in columns)
    files: dict[TopicPartition, Path] = {}
    for entry, paths in zip(chosen, kept, strict=True):
        for file in entry.events:
            if file.name in paths:
                for span in file.spans:
                    files.setdefault(span.place, paths[file.name])
    found = [
        ask(_FIRST.format(values=values, characters=SAMPLE_CHARACTERS), [path], [*place, SAMPLES])
        for place, path in sorted(files.items())[:SAMPLES]
    ]
    in_turn = [row for rows in itertools.zip_longest(*found) for row in rows if row is not None]
    return [
        result.Sample(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp=None if timestamp is None else datetime.fromtimestamp(timestamp / 1000, UTC),
            key=key,
            values=dict(zip(columns, shown, strict=True)),
        )
        for topic, partition, offset, timestamp, key, *shown in in_turn[:SAMPLES]
    ]


def _files(folder: Folder, entry: Entry, *, damaged: bool) -> tuple[dict[str, Path], dict[str, Path]]:
    """An entry's files by name, kept and quarantined rows.

    Without files that are gone or, where verify found something, have other columns.
    """
    kept, unusable = schemas(entry.contract)
    return (
        _readable(folder.published(folder.events, entry.number), entry.events, kept, damaged=damaged),
        _readable(
            folder.published(folder.quarantine, entry.number), entry.quarantine, unusable, damaged=damaged
        ),
    )


def _readable(place: Path, files: Iterable[DataFile], schema: pa.Schema, *, damaged: bool) -> dict[str, Path]:
    paths = {file.name: place / file.name for file in files}
    return {
        name: path
        for name, path in paths.items()
        if (has_columns(path, schema) if damaged else path.exists())
    }


def _micro_batch(entry: Entry, accepted: Accepted) -> result.MicroBatch:
    files = [*entry.events, *entry.quarantine]
    return result.MicroBatch(
        id=entry.number,
        published_at=entry.published_at,
        seconds=(entry.published_at - entry.planned_at).total_seconds(),
        kept=entry.total("kept"),
        filtered=entry.total("filtered"),
        quarantined=entry.total("quarantined"),
        gaps=entry.total("gaps") - sum(map(accepted.lost_of, entry.ranges)),
        files=len(files),
        bytes=sum(file.bytes for file in files),
        filter=entry.contract.filter,
    )


def _query(
    database: duckdb.DuckDBPyConnection,
    query: str,
    files: Sequence[Path],
    values: Sequence[object],
    *,
    damaged: bool,
) -> list[Any]:
    if not files:
        return []
    try:
        try:
            engine.view(database, "rows", files)
            return database.execute(query, values).fetchall()
        except duckdb.OutOfMemoryException:
            database.execute("DROP VIEW IF EXISTS rows")
            schema = pa.schema([column.with_nullable(True) for column in pq.read_schema(files[0])])
            with engine.view_in_turn(database, "rows", files, schema):
                return database.execute(query, values).fetchall()
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise_if_short(error)
        if not damaged:
            raise
        return []
