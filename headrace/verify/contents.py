"""What a report tells of the data itself: sums, counts per minute and reason, a few rows."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from headrace.ledger.entries import Entry
from headrace.ledger.folder import Folder
from headrace.report import model
from headrace.verify import engine

SAMPLES = 5
MOST_MINUTES = 10_080
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
COLUMNS = ("kept", "filtered", "quarantined", "gaps")


@dataclass(frozen=True)
class Contents:
    """What the micro-batches of a scope hold."""

    balance: list[model.Balance]
    quarantine: list[model.Reason]
    kept_per_minute: list[model.Minute]
    samples: list[model.Sample]
    micro_batches: list[model.MicroBatch]

    @classmethod
    def of(cls, folder: Folder, chosen: Sequence[Entry], database: duckdb.DuckDBPyConnection, *, damaged: bool) -> "Contents":
        """Read it. If verify found files `damaged`, what can't be read is left out; otherwise `duckdb.Error` is raised."""
        events = [
            path
            for entry in chosen
            for file in entry.events
            if (path := folder.published(folder.events, entry.micro_batch) / file.name).exists()
        ]
        unusable = [
            path
            for entry in chosen
            for file in entry.quarantine
            if (path := folder.published(folder.quarantine, entry.micro_batch) / file.name).exists()
        ]
        ask = partial(_query, database, damaged=damaged)
        reasons = ask("SELECT coalesce(reason, 'none'), count(*) FROM rows GROUP BY ALL ORDER BY ALL", unusable, [])
        minutes = reversed(ask(_MINUTES, events, [MOST_MINUTES]))
        found = samples(folder, chosen, ask)
        return cls(
            balance=balance(chosen),
            quarantine=[model.Reason(reason=reason, count=count) for reason, count in reasons],
            kept_per_minute=[model.Minute(minute=datetime.fromtimestamp(minute * 60, UTC), kept=count) for minute, count in minutes],
            samples=found,
            micro_batches=[_micro_batch(entry) for entry in chosen],
        )

    @staticmethod
    def totals(ledger: Sequence[Entry]) -> model.Totals:
        """Sums over the whole ledger."""
        kept, filtered, quarantined, gaps = (sum(entry.total(column) for entry in ledger) for column in COLUMNS)
        return model.Totals(micro_batches=len(ledger), kept=kept, filtered=filtered, quarantined=quarantined, gaps=gaps)


def balance(chosen: Iterable[Entry]) -> list[model.Balance]:
    """The account of each topic-partition over some entries."""
    sums: dict[tuple[str, int], Counter[str]] = {}
    reach: dict[tuple[str, int], tuple[int, int]] = {}
    for entry in chosen:
        for account in entry.accounts:
            place = (account.topic, account.partition)
            sums.setdefault(place, Counter()).update({column: getattr(account, column) for column in COLUMNS})
            low, high = reach.get(place, (account.from_offset, account.until_offset))
            reach[place] = (min(low, account.from_offset), max(high, account.until_offset))
    return [
        model.Balance(
            topic=topic,
            partition=partition,
            from_offset=reach[topic, partition][0],
            until_offset=reach[topic, partition][1],
            **{column: counts[column] for column in COLUMNS},
        )
        for (topic, partition), counts in sorted(sums.items())
    ]


def samples(
    folder: Folder, chosen: Sequence[Entry], ask: Callable[[str, Sequence[Path], Sequence[object]], list[Any]]
) -> list[model.Sample]:
    """A few kept rows, shortened, from as many partitions as there are.

    ask  runs a query over some files with these values, and gives its rows
    """
    columns = list(chosen[-1].contract.columns) if chosen else []
    values = ", ".join(f'left("{name}"::VARCHAR, {SAMPLE_CHARACTERS})' for name in columns)
    files: dict[tuple[str, int], Path] = {}
    for entry in chosen:
        for file in entry.events:
            if (path := folder.published(folder.events, entry.micro_batch) / file.name).exists():
                for span in file.spans:
                    files.setdefault((span.topic, span.partition), path)
    found = [
        ask(_FIRST.format(values=values, characters=SAMPLE_CHARACTERS), [path], [*place, SAMPLES])
        for place, path in sorted(files.items())[:SAMPLES]
    ]
    in_turn = [row for rows in itertools.zip_longest(*found) for row in rows if row is not None]
    return [
        model.Sample(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp=None if timestamp is None else datetime.fromtimestamp(timestamp / 1000, UTC),
            key=key,
            values=dict(zip(columns, shown, strict=True)),
        )
        for topic, partition, offset, timestamp, key, *shown in in_turn[:SAMPLES]
    ]


def _micro_batch(entry: Entry) -> model.MicroBatch:
    files = [*entry.events, *entry.quarantine]
    return model.MicroBatch(
        id=entry.micro_batch,
        published_at=entry.published_at,
        seconds=(entry.published_at - entry.planned_at).total_seconds(),
        kept=entry.total("kept"),
        filtered=entry.total("filtered"),
        quarantined=entry.total("quarantined"),
        gaps=entry.total("gaps"),
        files=len(files),
        bytes=sum(file.bytes for file in files),
        filter=entry.contract.filter,
    )


def _query(database: duckdb.DuckDBPyConnection, query: str, files: Sequence[Path], values: Sequence[object], *, damaged: bool) -> list[Any]:
    if not files:
        return []
    try:
        engine.view(database, "rows", files)
        return database.execute(query, values).fetchall()
    except duckdb.Error:
        if not damaged:
            raise
        return []
