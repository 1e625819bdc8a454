"""The second engine's side of JSON."""

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

from headrace.contract.timestamps import microseconds
from headrace.contract.types import Boolean, Double, Integer, String, Timestamp, Type
from headrace.contract.verdicts import Field, Reason
from headrace.formats.decoding import Row, UnusableError, utf8
from headrace.formats.json.contract import MAX_KEY_LENGTH, MAX_NESTING
from headrace.formats.json.quick import quick

__all__ = ["quick", "reader"]


def reader(
    fields: tuple[Field, ...], note: Callable[[dict[str, Any]], None] | None
) -> Callable[[bytes | None], Row]:
    """Return a function that decodes one value into a row.

    Args:
        note: Called with each parsed object, even if it is then rejected.
    """
    columns = [(field.name, _reader(field.type), field.required) for field in fields]

    def read(value: bytes | None) -> Row:
        if value == b"":
            raise UnusableError(Reason.EMPTY_VALUE)
        document = _object(utf8(value))
        if note is not None:
            note(document)
        row = []
        missing: str | None = None
        for name, read_one, required in columns:
            found = document.get(name)
            if found is not None:
                found = read_one(found)
                if found is _WRONG:
                    raise UnusableError(Reason.WRONG_TYPE, name)
            elif required and missing is None:
                missing = name
            row.append(found)
        if missing is not None:
            raise UnusableError(Reason.MISSING_FIELD, missing)
        return tuple(row)

    return read


def _object(text: str) -> dict[str, Any]:
    try:
        document = parse(text)
    except ValueError:
        raise UnusableError(Reason.NOT_JSON) from None
    if type(document) is not dict:
        raise UnusableError(Reason.NOT_OBJECT)
    return document


def parse(text: str) -> Any:
    """Parse JSON, strictly as RFC 8259 and within the contract's limits. Raises `ValueError`.

    Integer literals of at most 20 characters become `int`, all other numbers `float`.
    """
    if text.count("[") + text.count("{") > MAX_NESTING and _nesting(text) > MAX_NESTING:
        raise ValueError("nested too deep")
    document = (_DECODER if len(text) <= MAX_KEY_LENGTH // 2 else _LIMITED_DECODER).decode(text)
    if "\\u" in text and any(match["lone"] for match in _ESCAPE.finditer(text)):
        raise ValueError("half of a surrogate pair")
    return document


def _nesting(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.findall(text):
        depth += 1 if bracket in "[{" else -1 if bracket in "]}" else 0
        deepest = max(deepest, depth)
    return deepest


def _integer(text: str) -> int | float:
    # Longer than any bigint. Python refuses to make an int of very many digits.
    return int(text) if len(text) <= 20 else float(text)  # noqa: PLR2004


def _not_a_number(name: str) -> NoReturn:
    raise ValueError(name)


def _short_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, _ in pairs:
        if len(key.encode("utf-16-le", "surrogatepass")) // 2 > MAX_KEY_LENGTH:
            raise ValueError("key too long")
    return dict(pairs)


_DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=_not_a_number)
_LIMITED_DECODER = json.JSONDecoder(
    parse_int=_integer, parse_constant=_not_a_number, object_pairs_hook=_short_keys
)
# A string without an end is taken to the end of the text, once; otherwise each quote in it would be tried
# again.
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_ESCAPE = re.compile(r"\\u[dD][89abAB].{2}\\u[dD][c-fC-F]|(?P<lone>\\u[dD][89a-fA-F])|\\.")


_WRONG: Any = object()
"""What a reader returns for a value that its type does not take."""


def _string(value: object) -> Any:
    return value if type(value) is str else _WRONG


def _boolean(value: object) -> Any:
    return value if type(value) is bool else _WRONG


def _whole(kind: Integer) -> Callable[[object], Any]:
    lowest, highest = kind.lowest, kind.highest
    return lambda value: value if type(value) is int and lowest <= value <= highest else _WRONG


def _double(value: object) -> Any:
    if type(value) is not float and type(value) is not int:
        return _WRONG
    number = float(value) + 0.0  # a negative zero becomes zero
    return number if math.isfinite(number) else _WRONG


def _timestamp(value: object) -> Any:
    moment = microseconds(value) if type(value) is str else None
    return _WRONG if moment is None else moment


def _reader(kind: Type) -> Callable[[object], Any]:
    """Return a function that turns a JSON value into the column's."""
    match kind:
        case String():
            return _string
        case Integer():
            return _whole(kind)
        case Double():
            return _double
        case Boolean():
            return _boolean
        case Timestamp():
            return _timestamp
        case _:
            raise NotImplementedError(str(kind))
