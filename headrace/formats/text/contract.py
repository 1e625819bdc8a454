"""What the pipeline file says of text."""

from collections.abc import Mapping
from typing import Any

from headrace.contract.reading import Table
from headrace.contract.types import STRING
from headrace.contract.verdicts import Field, Reason

REASONS = (Reason.NULL_VALUE, Reason.NOT_UTF8)
HAS_MEMBERS = False
FIELDS = (Field("value", STRING),)
SAMPLES = ("This is an important message", "Just a normal event")
"""What a demo's records say where the file names nothing else."""


def fields(file: Table) -> tuple[Field, ...]:
    """The one column."""
    if table := file.table("fields"):
        file.mistake("fields", table.content, "none: a text record has the one column `value`")
    return FIELDS


def demo(table: Table, _: tuple[Field, ...] | None) -> Mapping[str, Any]:
    """The texts of which each value is one, as a JSON string."""
    samples, values = (
        table.items("samples", "strings", lambda value: isinstance(value, str)),
        table.table("values"),
    )
    if values:
        table.mistake("values", values.content, "none: text records are made of samples")
    return {"samples": samples or SAMPLES}
