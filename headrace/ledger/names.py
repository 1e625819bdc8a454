"""Names on disk."""

from urllib.parse import quote


def quoted(run: str) -> str:
    """A run id as a file name: every byte outside `[A-Za-z0-9_.-]` as `%XX`, and no name that means a folder."""
    name = quote(run, safe="").replace("~", "%7E")
    return name.replace(".", "%2E") if set(name) == {"."} else name
