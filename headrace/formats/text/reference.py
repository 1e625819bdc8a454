"""The second engine's side of text."""

from collections.abc import Callable
from typing import Any

from headrace.contract.verdicts import Field
from headrace.formats.decoding import Row, utf8


def reader(
    _: tuple[Field, ...], __: Callable[[dict[str, Any]], None] | None
) -> Callable[[bytes | None], Row]:
    """Return a function that decodes one value into a row. There are no members to note."""
    return lambda value: (utf8(value),)
