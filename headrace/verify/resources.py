"""What verify runs out of on this machine says nothing about the data."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from headrace.diagnosis import of_system
from headrace.errors import ResourceError

WORDS = re.compile(
    r"Cannot allocate memory|Too many open files|No space left on device|Disk quota exceeded|failed to offload data|out of memory",
    re.IGNORECASE,
)
"""How DuckDB passes on what the system says."""


def raise_if_short(error: BaseException) -> None:
    """Raise `ResourceError` if memory, open files or room on a disk ran out; return if the error is about something else."""
    is_short = isinstance(error, duckdb.OutOfMemoryException) or (isinstance(error, duckdb.Error) and WORDS.search(str(error)))
    if is_short or (isinstance(error, OSError | MemoryError) and isinstance(of_system(error), ResourceError)):
        first = (str(error).splitlines() or [""])[0]
        raise ResourceError(
            f"Verify ran out of memory, open files or disk: {type(error).__name__}{f': {first}' if first else ''}. Nothing is said about the data. "
            "Make room, and run verify again; `headrace verify NAME RUN` looks at one run alone."
        ) from error


@contextmanager
def named() -> Iterator[None]:
    """Turn an error about resources into `ResourceError`."""
    try:
        yield
    except (MemoryError, OSError, duckdb.Error) as error:
        raise_if_short(error)
        raise
