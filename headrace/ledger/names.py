"""Names on disk."""

import hashlib
from urllib.parse import quote

PREFIX_DIGITS = 12


def run_digits(pipeline: str, run: str) -> str:
    """`<12 hex of sha256(pipeline, 0, run id)>`. Scheduled runs of two pipelines have the same id."""
    return hashlib.sha256(f"{pipeline}\0{run}".encode()).hexdigest()[:PREFIX_DIGITS]


def quoted(run: str) -> str:
    """A run id as a file name: every byte outside `[A-Za-z0-9_.-]` as `%XX`, and no name that means a folder."""
    name = quote(run, safe="").replace("~", "%7E")
    return name.replace(".", "%2E") if set(name) == {"."} else name
