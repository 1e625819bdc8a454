"""What the pipeline file says of JSON."""

import re
from collections.abc import Mapping
from typing import Any

from headrace.contract.reading import Table
from headrace.contract.types import TYPES
from headrace.contract.verdicts import Field, Reason

REASONS = (
    Reason.NULL_VALUE,
    Reason.EMPTY_VALUE,
    Reason.NOT_UTF8,
    Reason.NOT_JSON,
    Reason.NOT_OBJECT,
    Reason.WRONG_TYPE,
    Reason.MISSING_FIELD,
)
HAS_MEMBERS = True

MAX_NESTING = 500
"""Arrays and objects may lie this deep in each other; JSON that goes deeper is `not_json`. Parsers disagree
on where to stop."""

MAX_KEY_LENGTH = 50_000
"""In UTF-16 code units, escapes resolved; JSON with a longer key anywhere is `not_json`. It was the limit of
the parser that Spark's side used first, and is part of the rules since."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)
_RESERVED = {"micro_batch"}
"""The column that readers make of the folders' names. All others of ours start with an underscore."""


def fields(file: Table) -> tuple[Field, ...] | None:
    """The declared columns; `None` if one is invalid: checks that need them are then skipped."""
    table = file.table("fields", required=True)
    if table is None:
        return None
    before = len(file.problems)
    found = [_field(table, name) for name in table.content]
    by_folded: dict[str, str] = {}
    for name in table.content:
        other = by_folded.setdefault(name.lower(), name)
        if other != name:
            table.mistake(
                name,
                name,
                f"a name that differs from {other!r} in more than case; columns do not distinguish them",
            )
    if not found and len(file.problems) == before:
        file.mistake("fields", table.content, "at least one field in it")
    return None if len(file.problems) > before else tuple(field for field in found if field)


def _field(table: Table, name: str) -> Field | None:
    if not _NAME.fullmatch(name) or name.lower() in _RESERVED:
        table.mistake(
            name, name, "a name: a letter, then up to 99 letters, digits and _, other than 'micro_batch'"
        )
    if not isinstance(table.content[name], dict):
        kind = table.choice(name, TYPES)
        return Field(name, kind) if kind else None
    described = table.inside(name)
    kind, required = described.choice("type", TYPES), described.boolean("required", default=True)
    described.refuse_others()
    return Field(name, kind, required) if kind and required is not None else None


def demo(table: Table, fields: tuple[Field, ...] | None) -> Mapping[str, Any]:
    """Field → choices for its value. A field that is absent gets values of its type."""
    samples, choices = (
        table.items("samples", "strings", lambda value: isinstance(value, str)),
        table.table("values"),
    )
    if samples:
        table.mistake("samples", list(samples), "none: JSON records are made of [demo.values]")
    if not choices or fields is None:
        return {}
    values = {
        field.name: choices.items(field.name, f"values of type {field.type}", field.type.takes)
        for field in fields
    }
    choices.refuse_others()
    return {"values": {name: found for name, found in values.items() if found}}
