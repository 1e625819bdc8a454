"""DuckDB as verify uses it: bounded in memory, without anything it would have to download."""

from collections.abc import Iterable
from pathlib import Path

import duckdb


def connect() -> duckdb.DuckDBPyConnection:
    """An empty database of its own, in memory. Its time zone is UTC: the extension that knows others is not loaded."""
    return duckdb.connect(
        config={"threads": 2, "memory_limit": "1GB", "autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )


def view(database: duckdb.DuckDBPyConnection, name: str, files: Iterable[Path]) -> None:
    """Give the rows of some Parquet files a name; columns are those in the files, none from folder names."""
    database.read_parquet([str(file) for file in files], hive_partitioning=False).create_view(name)
