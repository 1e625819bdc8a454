"""DuckDB as verify uses it: bounded in memory, without anything it would have to download."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa


def connect() -> duckdb.DuckDBPyConnection:
    """An empty database of its own, in memory. Its time zone is UTC: the extension that knows others is not loaded."""
    return duckdb.connect(
        config={"threads": 2, "memory_limit": "1GB", "autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )


def view(database: duckdb.DuckDBPyConnection, name: str, files: Sequence[Path], schema: pa.Schema | None = None) -> None:
    """Give the rows of some Parquet files a name; columns are those in the files, none from folder names.

    schema  what the columns are if there is no file
    """
    if files or schema is None:
        rows = database.read_parquet([str(file) for file in files], hive_partitioning=False)
    else:
        database.register("nothing", schema.empty_table())
        database.execute(f"CREATE OR REPLACE TABLE no_{name} AS FROM nothing")
        rows = database.table(f"no_{name}")
    rows.create_view(name)
