"""The JSON Schemas of every document on disk, generated from the types that read and write them.

python -m headrace.schemas            writes docs/schemas
python -m headrace.schemas --check    exits 1 if they are not up to date
"""

import sys
from typing import Any

import msgspec

from headrace.documents import Document, Stored
from headrace.ledger.entry import Entry
from headrace.ledger.identity import Identity
from headrace.ledger.progress import Started, Streamed, Verified
from headrace.ledger.receipts import Receipt
from headrace.settings import ROOT
from headrace.verify.result import Report

FOLDER = ROOT / "docs" / "schemas"
DOCUMENTS: tuple[type[Document], ...] = (Entry, Identity, Receipt, Report, Started, Streamed, Verified)


def schemas() -> dict[str, str]:
    """File name → JSON Schema."""
    return {
        f"{kind.__name__.lower()}.schema.json": msgspec.json.format(
            msgspec.json.encode(_on_one_line(msgspec.json.schema(kind, schema_hook=_schema)), order="sorted"),
            indent=2,
        ).decode()
        + "\n"
        for kind in DOCUMENTS
    }


def _on_one_line(part: Any) -> Any:
    """A schema whose descriptions are not wrapped as the docstrings are that they come from."""
    if isinstance(part, list):
        return [_on_one_line(each) for each in part]
    if isinstance(part, dict):
        return {
            key: " ".join(value.split())
            if key == "description" and isinstance(value, str)
            else _on_one_line(value)
            for key, value in part.items()
        }
    return part


def _schema(kind: type) -> dict[str, Any]:
    """Of what `documents.encode_other` writes."""
    if issubclass(kind, Stored):
        return kind.json_schema()
    raise NotImplementedError(kind)


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    stale = [
        name
        for name, text in schemas().items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text() != text
    ]
    if "--check" in arguments:
        if stale:
            sys.stderr.write(f"docs/schemas is not up to date ({', '.join(stale)}): run `make docs`.\n")
        return bool(stale)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
