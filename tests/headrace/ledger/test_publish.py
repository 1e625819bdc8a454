"""What is staged is described by what is on disk."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.ledger.publish import spans


def test_spans_of_a_file_larger_than_a_block(tmp_path: Path) -> None:
    """A file is read in blocks, so that memory stays bounded.

    What they say is put together per topic-partition.
    """
    rows = 200_000
    table = pa.table(
        {
            "_topic": ["t"] * rows,
            "_partition": pa.array([row % 3 for row in range(rows)], pa.int32()),
            "_offset": pa.array([1_000_000 - row for row in range(rows)], pa.int64()),
        }
    )
    pq.write_table(table, tmp_path / "part.parquet", row_group_size=50_000)
    found = spans(tmp_path / "part.parquet")
    assert [(span.partition, span.rows) for span in found] == [(0, 66_667), (1, 66_667), (2, 66_666)]
    assert (min(span.lowest_offset for span in found), max(span.highest_offset for span in found)) == (
        1_000_000 - rows + 1,
        1_000_000,
    )
