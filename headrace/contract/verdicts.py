"""The vocabulary of the contract: what a record looks like, and what can become of it."""

from enum import StrEnum

import msgspec


class Format(StrEnum):
    """How the value of a record is written."""

    TEXT = "text"
    JSON = "json"


class FieldType(StrEnum):
    """Type of a declared column, by its Spark name."""

    STRING = "string"
    INT = "int"
    BIGINT = "bigint"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"


RANGES = {FieldType.INT: (-(2**31), 2**31 - 1), FieldType.BIGINT: (-(2**63), 2**63 - 1)}
"""Lowest and highest number of the integer types."""


class Verdict(StrEnum):
    """What becomes of a record; each gets exactly one."""

    KEPT = "kept"
    FILTERED = "filtered"
    QUARANTINED = "quarantined"


class Reason(StrEnum):
    """Why a record is unusable. Of several that match, the first in this order counts."""

    NULL_VALUE = "null_value"
    EMPTY_VALUE = "empty_value"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    WRONG_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"


MAX_NESTING = 500
"""Arrays and objects may lie this deep in each other; JSON that goes deeper is `not_json`. Parsers disagree on where to stop."""

MAX_KEY_LENGTH = 50_000
"""In UTF-16 code units, escapes resolved; JSON with a longer key anywhere is `not_json`. A limit of Spark's parser that can't be moved."""


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A declared column."""

    name: str
    type: FieldType
    required: bool = True


TEXT_FIELDS = (Field("value", FieldType.STRING),)
"""The one column of a text record."""


class Contract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By what a record is judged. Its `fields` are the declared columns, in order; for text that is `TEXT_FIELDS`."""

    format: Format
    fields: tuple[Field, ...]
    filter: str

    @property
    def columns(self) -> dict[str, FieldType]:
        """The declared columns."""
        return {field.name: field.type for field in self.fields}

    @property
    def described(self) -> str:
        """Format and fields in one line, for messages."""
        fields = ", ".join(f"{field.name} {field.type}{'' if field.required else ' (optional)'}" for field in self.fields)
        return f"{self.format} ({fields})"
