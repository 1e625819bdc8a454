"""DuckDB as verify uses it: bounded in memory, without anything it would have to download."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.kafka.offsets import OffsetRange

MEMORY = "1GB"
"""Of one database."""
ROWS_IN_TURN = 32
BYTES_IN_TURN = 32 << 20
"""At most so many rows at once, and about so many bytes of them."""


def connect(memory: str | None = None) -> duckdb.DuckDBPyConnection:
    """An empty database of its own, in memory.

    Its time zone is UTC: the extension that knows others is not loaded.
    """
    return duckdb.connect(
        config={
            "threads": 2,
            "memory_limit": memory or MEMORY,
            "temp_directory": "",  # no records in files of its own: what does not fit is an error, and is read in turn
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )


def view(
    database: duckdb.DuckDBPyConnection, name: str, files: Sequence[Path], schema: pa.Schema | None = None
) -> None:
    """Give the rows of some Parquet files a name; columns are those in the files, none from folder names.

    Args:
        schema: What the columns are if there is no file.
    """
    if files or schema is None:
        rows = database.read_parquet([str(file) for file in files], hive_partitioning=False)
    else:
        database.register("nothing", schema.empty_table())
        database.execute(f"CREATE OR REPLACE TABLE no_{name} AS FROM nothing")
        rows = database.table(f"no_{name}")
    rows.create_view(name)


@contextmanager
def view_in_turn(
    database: duckdb.DuckDBPyConnection,
    name: str,
    files: Sequence[Path],
    schema: pa.Schema,
    span: OffsetRange | None = None,
) -> Iterator[None]:
    """Give the rows of some Parquet files a name, for one query.

    A few are read at a time, however large they are.

    DuckDB itself holds two thousand rows at once, and a few megabytes of a file may be gigabytes of rows.

    Args:
        database: That asks.
        name: Of the rows.
        files: With just these columns.
        schema: The columns.
        span: Row groups without any of these offsets, by their statistics, are skipped.
    """
    database.register(name, pa.RecordBatchReader.from_batches(schema, _in_turn(files, schema, span)))
    try:
        yield
    finally:
        database.unregister(name)


def _in_turn(files: Sequence[Path], schema: pa.Schema, span: OffsetRange | None) -> Iterator[pa.RecordBatch]:
    for path in files:
        with pq.ParquetFile(path, buffer_size=1 << 16) as file:
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                if span and not (
                    _may_hold(group, schema, "_partition", span.partition, span.partition)
                    and _may_hold(group, schema, "_offset", span.from_offset, span.until_offset - 1)
                ):
                    continue
                rows = min(
                    max(BYTES_IN_TURN * group.num_rows // max(group.total_byte_size, 1), 1), ROWS_IN_TURN
                )
                for batch in file.iter_batches(rows, row_groups=[number], use_threads=False):
                    yield batch.cast(schema)


def _may_hold(group: pq.RowGroupMetaData, schema: pa.Schema, name: str, lowest: int, highest: int) -> bool:
    """Whether a row group may hold such a number in a column, by its statistics.

    The columns before the first nested one are as in the schema.
    """
    found = group.column(schema.names.index(name)).statistics
    return not (found and found.has_min_max and (found.max < lowest or found.min > highest))
