"""The second engine's quick ways for JSON: whole blocks (`blocks.py`), otherwise value by value with orjson.

Left to the exact way (`reference.py`): what orjson refuses, and values that could break a limit that orjson
does not check. A negative zero loses its sign, and infinity is no number.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import isfinite
from typing import Any

import orjson
import pyarrow as pa

from headrace.contract.types import Boolean, Double, Integer, String, Timestamp, Type
from headrace.contract.verdicts import Field
from headrace.formats.json.blocks import may_be_beyond_limits, whole
from headrace.formats.json.moments import Moments

Column = list[Any]


def quick(
    fields: tuple[Field, ...],
) -> Callable[[Sequence[bytes | None]], tuple[list[pa.Array], set[int]]]:
    """Return a function that reads values into columns, and says which ones have to go the exact way."""
    of_block = whole(fields)
    readers = [(field, _converter(field.type)) for field in fields]

    def read(values: Sequence[bytes | None]) -> tuple[list[pa.Array], set[int]]:
        if (columns := of_block(values)) is not None:
            return columns, set()
        documents = [_document(value) for value in values]
        refused = {at for at, document in enumerate(documents) if document is None}
        found = [{} if document is None else document for document in documents]
        columns = []
        for field, convert in readers:
            column, wrong = convert([document.get(field.name) for document in found])
            refused.update(wrong)
            if field.required:
                refused.update(at for at, each in enumerate(column) if each is None)
            columns.append(pa.array(column, field.type.arrow))
        return columns, refused

    return read


def _document(value: bytes | None) -> dict[str, Any] | None:
    if value is None or may_be_beyond_limits(value):
        return None
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return found if type(found) is dict else None


_Converted = tuple[Column, Iterable[int]]


def _converter(kind: Type) -> Callable[[Column], _Converted]:
    """Return a function that turns JSON values into a column's, and names the places that are of no use."""
    match kind:
        case String():
            return lambda column: _only(column, {str})
        case Boolean():
            return lambda column: _only(column, {bool})
        case Integer():
            return lambda column: _within(column, kind.lowest, kind.highest)
        case Double():
            return _doubles
        case Timestamp():
            return partial(_timestamps, Moments())
        case _:
            raise NotImplementedError(str(kind))


def _only(column: Column, types: set[type]) -> _Converted:
    if set(map(type, column)) <= types | {type(None)}:
        return column, ()
    wrong = [at for at, found in enumerate(column) if found is not None and type(found) not in types]
    for at in wrong:
        column[at] = None
    return column, wrong


def _within(column: Column, lowest: int, highest: int) -> _Converted:
    column, wrong = _only(column, {int})
    there = set(column) - {None}
    if not there or (lowest <= min(there) and max(there) <= highest):
        return column, wrong
    beyond = [at for at, found in enumerate(column) if found is not None and not lowest <= found <= highest]
    for at in beyond:
        column[at] = None
    return column, [*wrong, *beyond]


def _doubles(column: Column) -> _Converted:
    column, wrong = _only(column, {float, int})
    column = [None if found is None else found + 0.0 for found in column]
    there = set(column) - {None}
    if all(map(isfinite, there)):
        return column, wrong
    infinite = [at for at, found in enumerate(column) if found is not None and not isfinite(found)]
    for at in infinite:
        column[at] = None
    return column, [*wrong, *infinite]


def _timestamps(known: Moments, column: Column) -> _Converted:
    column, wrong = _only(column, {str})
    moments = [None if found is None else known[found] for found in column]
    if moments.count(None) == column.count(None):
        return moments, wrong
    unread = [at for at, moment in enumerate(moments) if moment is None and column[at] is not None]
    return moments, [*wrong, *unread]
