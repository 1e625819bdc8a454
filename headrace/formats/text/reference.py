"""The second engine's side of text."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headrace.contract.verdicts import Field
from headrace.formats.decoding import Row, utf8


def reader(
    _: tuple[Field, ...], __: Callable[[dict[str, Any]], None] | None
) -> Callable[[bytes | None], Row]:
    """Return a function that decodes one value into a row. There are no members to note."""
    return lambda value: (utf8(value),)


def quick(
    _: tuple[Field, ...],
) -> Callable[[Sequence[bytes | None]], tuple[list[pa.Array], set[int]]]:
    """Return a function that reads values into the one column; what is no text is left to `reader`."""

    def read(values: Sequence[bytes | None]) -> tuple[list[pa.Array], set[int]]:
        found = pa.array(values, pa.binary())
        try:
            column = found.cast(pa.string())
        except pa.ArrowInvalid:
            column = pa.array(map(_text, values), pa.string(), size=len(values))
        return [column], set(pc.indices_nonzero(column.is_null()).to_pylist()) if column.null_count else set()

    return read


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
