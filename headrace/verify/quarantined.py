"""A few quarantined records for the report's page.

They are in no other document: report.json, logs and the terminal hold no unusable payload.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.errors import LedgerError
from headrace.ledger.entries import read_link
from headrace.ledger.folder import Folder
from headrace.ledger.publish import schemas
from headrace.text import beginning
from headrace.verify.parquet import has_columns
from headrace.verify.result import Report

SAMPLES, SAMPLES_OF_EACH = 20, 5
"""In all, and of one reason and field."""
NEWEST_MICRO_BATCHES = 20
FIRST_ROWS, FIRST_BYTES = 1_000, 16_000_000
"""How far to look into a file. A micro-batch may quarantine millions of records: the way to one in their
midst is not cheap."""
KEY_BYTES, VALUE_BYTES = 60, 300

UNREADABLE = (pa.ArrowException, OSError, ValueError, LedgerError)
"""Files may have changed since they were checked. Whether they are as published is not for samples to say."""


@dataclass(frozen=True)
class Unusable:
    """One quarantined record. The page alone shows any: `report.json` holds none.

    Attributes:
        key, value: Their beginnings as text (`text.beginning`).
    """

    topic: str
    partition: int
    offset: int
    reason: str
    field: str | None
    key: str | None
    value: str | None


def samples(folder: Folder, report: Report) -> list[Unusable]:
    """Quarantined records from a run's newest micro-batches, of as many reasons and fields as there are."""
    numbers = [each.id for each in report.micro_batches if each.quarantined]
    places: dict[tuple[str, str], list[tuple[Path, int]]] = defaultdict(list)
    for number in sorted(numbers, reverse=True)[:NEWEST_MICRO_BATCHES]:
        for path in _files(folder, number):
            for row, about in enumerate(_abouts(path)):
                places[about].append((path, row))
    of_each_in_turn = filter(
        None, chain.from_iterable(zip_longest(*(of_one[:SAMPLES_OF_EACH] for of_one in places.values())))
    )
    chosen: dict[Path, list[int]] = defaultdict(list)
    for path, row in islice(of_each_in_turn, SAMPLES):
        chosen[path].append(row)
    found = [sample for path, rows in chosen.items() for sample in _read(path, rows)]
    return sorted(
        found, key=lambda each: (each.reason, each.field or "", each.topic, each.partition, each.offset)
    )


def _files(folder: Folder, number: int) -> list[Path]:
    try:
        entry = read_link(folder, number).entry
        schema = schemas(entry.contract)[1]
        paths = [folder.published(folder.quarantine, number) / file.name for file in entry.quarantine]
        return [path for path in paths if has_columns(path, schema)]
    except UNREADABLE:
        return []


def _abouts(path: Path) -> list[tuple[str, str]]:
    """Reason and field of a file's first rows."""
    try:
        file = pq.ParquetFile(path)
        per_row = 1 + path.stat().st_size // max(file.metadata.num_rows, 1)
        most = max(min(FIRST_ROWS, FIRST_BYTES // per_row), 1)
        first = next(file.iter_batches(most, columns=["reason", "field"]), None)
        return [(row["reason"] or "", row["field"] or "") for row in first.to_pylist()] if first else []
    except UNREADABLE:
        return []


def _read(path: Path, rows: Sequence[int]) -> Iterator[Unusable]:
    """Some rows of a file. One is held at a time: values may have many megabytes."""
    columns = ["_topic", "_partition", "_offset", "_key", "_value", "reason", "field"]
    try:
        file = pq.ParquetFile(path, buffer_size=1 << 16)
        wanted = set(rows)
        for row, block in enumerate(islice(file.iter_batches(1, columns=columns), max(rows) + 1)):
            if row in wanted:
                (found,) = block.to_pylist()
                yield Unusable(
                    topic=found["_topic"] or "",
                    partition=found["_partition"] or 0,
                    offset=found["_offset"] or 0,
                    reason=found["reason"] or "none",
                    field=found["field"],
                    key=None if found["_key"] is None else beginning(found["_key"], KEY_BYTES),
                    value=None if found["_value"] is None else beginning(found["_value"], VALUE_BYTES),
                )
    except UNREADABLE:
        return
