"""How to read the published files, with DuckDB, Polars, pandas and the shell."""

import shlex
from dataclasses import dataclass

from headrace.report.wording import SPECIAL


@dataclass(frozen=True)
class Reader:
    """How one program reads the kept records."""

    name: str
    code: str


def readers(events: str) -> list[Reader]:
    """One line per program.

    The glob where folders with other files in them are refused, the folder elsewhere.
    """
    pattern = events.rstrip("/") + "/**/*.parquet"
    return [
        Reader("DuckDB", f"duckdb.read_parquet({pattern!r}, hive_partitioning=True)"),
        Reader("Polars", f"polars.scan_parquet({pattern!r}, hive_partitioning=True).collect()"),
        Reader("pandas", f"pandas.read_parquet({events!r})"),
        Reader("pyarrow", f"pyarrow.parquet.read_table({events!r})"),
        Reader("Spark", f"spark.read.parquet({events!r})"),
    ]


def commands(events: str) -> list[str]:
    """Two commands for a shell, with what is installed in the checkout's environment."""
    code = {reader.name: reader.code for reader in readers(events)}
    return [
        _python(f"import duckdb; {code['DuckDB']}.show()"),
        _python(f"import pandas; print({code['pandas']})"),
    ]


def _python(code: str) -> str:
    """Double quotes read better around Python code; a path with special characters needs the shell's own."""
    quoted = shlex.quote(code) if set(code) & SPECIAL else f'"{code}"'
    return f".venv/bin/python -c {quoted}"
