"""Rows of Parquet files as verify's database sees them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.kafka.offsets import OffsetRange
from headrace.verify import engine

SCHEMA = pa.schema(
    [
        ("_topic", pa.string()),
        ("_partition", pa.int32()),
        ("_offset", pa.int64()),
        ("event_id", pa.string()),
        ("value", pa.string()),
    ]
)
SPANS = [
    OffsetRange("t", partition, start, start + length)
    for partition in (0, 1, 2)
    for start in (0, 35, 95)
    for length in (1, 40)
]


def rows(pairs: list[tuple[int, int]]) -> pa.Table:
    """Rows of topic-partitions and offsets, in just this order."""
    return pa.Table.from_pylist(
        [
            {"_topic": "t", "_partition": p, "_offset": o, "event_id": f"{p}-{o}", "value": "x" * (o % 7)}
            for p, o in pairs
        ],
        SCHEMA,
    )


@pytest.fixture(params=[True, False], ids=["statistics", "no-statistics"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> list[Path]:
    """Two files of ten row groups each, one partition in each file and in the last row group both.

    With and without their statistics.
    """
    found = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    for partition, path in enumerate(found):
        mine = [(partition, offset) for offset in range(95)] + [
            (1 - partition, 95 + offset) for offset in range(5)
        ]
        pq.write_table(rows(mine), path, row_group_size=10, write_statistics=request.param)
    return found


@pytest.mark.parametrize(
    "span", SPANS, ids=lambda span: f"{span.partition}-{span.from_offset}-{span.until_offset}"
)
def test_no_row_of_a_span_is_left_out_in_turn(files: list[Path], span: OffsetRange) -> None:
    """A row group is skipped only if its statistics show that none of the offsets are in it."""
    database = engine.connect()
    query = "SELECT * FROM {} WHERE _partition = ? AND _offset >= ? AND _offset < ? ORDER BY _offset"
    values = [span.partition, span.from_offset, span.until_offset]
    engine.view(database, "at_once", files)
    wanted = database.execute(query.format("at_once"), values).fetchall()
    with engine.view_in_turn(database, "in_turn", files, SCHEMA, span):
        assert database.execute(query.format("in_turn"), values).fetchall() == wanted
    assert span.partition == 2 or span.from_offset == 95 or wanted


def test_only_the_row_groups_of_a_span_are_read_in_turn(tmp_path: Path) -> None:
    """A file of a gigabyte is not read again for each span of it."""
    path = tmp_path / "0.parquet"
    pq.write_table(rows([(0, offset) for offset in range(100)]), path, row_group_size=10)
    database = engine.connect()
    with engine.view_in_turn(database, "in_turn", [path], SCHEMA, OffsetRange("t", 0, 42, 55)):
        assert database.sql("SELECT min(_offset), max(_offset), count(*) FROM in_turn").fetchall() == [
            (40, 59, 20)
        ]
