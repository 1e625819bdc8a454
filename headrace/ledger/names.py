"""Names on disk."""

import hashlib
from urllib.parse import quote

PREFIX_DIGITS = 12

LONGEST = 255 - len(".") - len(".json") - len(".1234567")
"""Characters of a name: file systems take 255, and while a receipt `NAME.json` is written, it is
`.NAME.json.PID`."""


def run_digits(pipeline: str, run: str) -> str:
    """`<12 hex of sha256(pipeline, 0, run id)>`. Scheduled runs of two pipelines have the same id."""
    return hashlib.sha256(f"{pipeline}\0{run}".encode()).hexdigest()[:PREFIX_DIGITS]


def quoted(run: str) -> str:
    """A run id as a file name: every byte outside `[A-Za-z0-9_.-]` as `%XX`, and no name that means a folder.

    What is too long ends with `~` and the id's SHA-256 instead: no other id has that name, since `~` is in no
    short one.
    """
    name = quote(run, safe="").replace("~", "%7E")
    if set(name) == {"."}:
        name = name.replace(".", "%2E")
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(run.encode()).hexdigest()
    return f"{name[: LONGEST - len(digest) - 1]}~{digest}"
