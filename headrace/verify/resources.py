"""A lack of memory, open files or disk is a `ResourceError`, never a finding about the data."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from headrace.diagnosis import of_system
from headrace.errors import ResourceError

WORDS = re.compile(
    r"Cannot allocate memory|Too many open files|No space left on device|Disk quota exceeded|failed to offload|out of memory",
    re.IGNORECASE,
)
"""How DuckDB passes on what the system says."""


def raise_if_short(error: BaseException) -> None:
    """Raise `ResourceError` if memory, open files or room on a disk ran out.

    Return if the error is about something else.
    """
    is_short = isinstance(error, duckdb.OutOfMemoryException) or (
        isinstance(error, duckdb.Error) and WORDS.search(str(error))
    )
    if is_short or (isinstance(error, OSError | MemoryError) and isinstance(of_system(error), ResourceError)):
        first = (str(error).splitlines() or [""])[0]
        what, do = _what(error)
        raise ResourceError(
            f"Verify ran out of {what} ({type(error).__name__}{f': {first}' if first else ''}). {do} and run it again; the data was not judged."
        ) from error


def _what(error: BaseException) -> tuple[str, str]:
    """What ran out, and what to do."""
    if re.search(r"No space left|Disk quota|failed to offload", str(error)):
        return "disk space", "Free some"
    if "Too many open files" in str(error):
        return "open files", "Stop something else or raise the limit (`ulimit -n`)"
    return "memory", "Stop something else"


@contextmanager
def named() -> Iterator[None]:
    """Turn an error about resources into `ResourceError`."""
    try:
        yield
    except (MemoryError, OSError, duckdb.Error) as error:
        raise_if_short(error)
        raise
