"""Five ways to read what was published, each returning its rows' positions."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
from pyspark.sql import SparkSession

Position = tuple[str, int, int]
COLUMNS = ["_topic", "_partition", "_offset"]


def with_duckdb(events: Path) -> list[Position]:
    """The glob, in DuckDB."""
    return (
        duckdb.connect()
        .execute(f"SELECT _topic, _partition, _offset FROM '{events}/**/*.parquet'")
        .fetchall()
    )


def with_polars(events: Path) -> list[Position]:
    """The glob, in Polars."""
    return pl.read_parquet(f"{events}/**/*.parquet", columns=COLUMNS).rows()


def with_pandas(events: Path) -> list[Position]:
    """The folder, in pandas."""
    return list(pd.read_parquet(events)[COLUMNS].itertuples(index=False, name=None))


def with_pyarrow(events: Path) -> list[Position]:
    """The folder, in pyarrow."""
    table = ds.dataset(events, partitioning="hive").to_table(columns=COLUMNS)
    return list(zip(*(table.column(column).to_pylist() for column in COLUMNS), strict=True))


def with_spark(events: Path) -> list[Position]:
    """The folder, in Spark."""
    return [
        tuple(row)
        for row in SparkSession.builder.getOrCreate().read.parquet(str(events)).select(*COLUMNS).collect()
    ]


READERS: dict[str, Callable[[Path], list[Position]]] = {
    "duckdb": with_duckdb,
    "polars": with_polars,
    "pandas": with_pandas,
    "pyarrow": with_pyarrow,
    "spark": with_spark,
}
