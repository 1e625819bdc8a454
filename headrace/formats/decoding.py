"""Decodes the values of records by the contract, for the second engine: what all formats have in common."""

from collections.abc import Callable
from typing import Any, TypeAlias

from headrace.contract.formats import of_reference
from headrace.contract.verdicts import Contract, Reason

Row: TypeAlias = tuple[Any, ...]
"""A record's values in the order of the declared columns; timestamps are microseconds since 1970 (UTC)."""

Decoded: TypeAlias = tuple[Reason | None, str | None, Row]
"""A reason, the declared field that it is about if it is about one, and a row of nothing but `None`; or no
reason, no field and the row."""


class UnusableError(Exception):
    """A value that cannot be used.

    Args:
        reason: the first that matches
        field: the first declared field that it is about
    """

    def __init__(self, reason: Reason, field: str | None = None) -> None:
        super().__init__(reason, field)
        self.reason = reason
        self.field = field


def decoder(
    contract: Contract, note: Callable[[dict[str, Any]], None] | None = None
) -> Callable[[bytes | None], Decoded]:
    """The function that decodes one value by the contract.

    Args:
        note: Is given the members of each value that has any, whatever becomes of it.
    """
    read = of_reference(contract.format).reader(contract.fields, note)
    nothing = (None,) * len(contract.fields)

    def decode(value: bytes | None) -> Decoded:
        try:
            return None, None, read(value)
        except UnusableError as error:
            return error.reason, error.field, nothing

    return decode


def utf8(value: bytes | None) -> str:
    """A value as text. Raises `UnusableError` for none, and for one that is not UTF-8."""
    if value is None:
        raise UnusableError(Reason.NULL_VALUE)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise UnusableError(Reason.NOT_UTF8) from None
