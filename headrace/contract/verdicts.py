"""The vocabulary of the contract: what a record looks like, and what can become of it."""

from enum import StrEnum
from typing import Literal, TypeAlias, get_args

import msgspec

from headrace.contract.types import Type

Format: TypeAlias = Literal["text", "json"]
"""How the value of a record is written. This is the only list: each has a folder of its own, see
`headrace.contract.formats`."""
FORMATS: tuple[Format, ...] = get_args(Format)


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


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A declared column."""

    name: str
    type: Type
    required: bool = True


class Contract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By what a record is judged. Its `fields` are the declared columns, in order."""

    format: Format
    fields: tuple[Field, ...]
    filter: str

    @property
    def columns(self) -> dict[str, Type]:
        """The declared columns."""
        return {field.name: field.type for field in self.fields}

    @property
    def described(self) -> str:
        """Format and fields in one line, for messages."""
        fields = ", ".join(
            f"{field.name} {field.type}{'' if field.required else ' (optional)'}" for field in self.fields
        )
        return f"{self.format} ({fields})"
