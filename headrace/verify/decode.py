"""Decodes the values of records by the contract, for the second engine."""

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from headrace.contract.timestamps import microseconds
from headrace.contract.verdicts import MAX_NESTING, RANGES, Contract, Field, FieldType, Format, Reason

Row: TypeAlias = tuple[Any, ...]
"""A record's values in the order of the declared columns; timestamps are microseconds since 1970 (UTC)."""

Decoded: TypeAlias = tuple[Reason | None, Row]
"""A reason and a row of nothing but `None`, or no reason and the row."""

_WRONG: Any = object()
"""Stands for a value of another type."""


def decoder(contract: Contract) -> Callable[[bytes | None], Decoded]:
    """The function that decodes one value by the contract."""
    return _text if contract.format == Format.TEXT else _json(contract.fields)


def _text(value: bytes | None) -> Decoded:
    if value is None:
        return Reason.NULL_VALUE, (None,)
    try:
        return None, (value.decode(),)
    except UnicodeDecodeError:
        return Reason.NOT_UTF8, (None,)


def _json(fields: tuple[Field, ...]) -> Callable[[bytes | None], Decoded]:
    columns = [(field.name, _READERS[field.type], field.required) for field in fields]
    nothing = (None,) * len(fields)

    def decode(value: bytes | None) -> Decoded:
        if value is None:
            return Reason.NULL_VALUE, nothing
        if not value:
            return Reason.EMPTY_VALUE, nothing
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return Reason.NOT_UTF8, nothing
        try:
            document = parse(text)
        except ValueError:
            return Reason.NOT_JSON, nothing
        if type(document) is not dict:
            return Reason.NOT_OBJECT, nothing

        row = []
        missing = False
        for name, read, required in columns:
            found = document.get(name)
            if found is None:
                missing |= required
            else:
                found = read(found)
                if found is _WRONG:
                    return Reason.WRONG_TYPE, nothing
            row.append(found)
        return (Reason.MISSING_FIELD, nothing) if missing else (None, tuple(row))

    return decode


def parse(text: str) -> Any:
    """Parse JSON, strictly as RFC 8259 and within the contract's limits. Raises `ValueError`.

    Integer literals of at most 20 characters become `int`, all other numbers `float`.
    """
    if text.count("[") + text.count("{") > MAX_NESTING and _nesting(text) > MAX_NESTING:
        raise ValueError("nested too deep")
    document = _DECODER.decode(text)
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


_DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=_not_a_number)
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_ESCAPE = re.compile(r"\\u[dD][89abAB].{2}\\u[dD][c-fC-F]|(?P<lone>\\u[dD][89a-fA-F])|\\.")


def _string(value: object) -> Any:
    return value if type(value) is str else _WRONG


def _boolean(value: object) -> Any:
    return value if type(value) is bool else _WRONG


def _whole(kind: FieldType) -> Callable[[object], Any]:
    low, high = RANGES[kind]
    return lambda value: value if type(value) is int and low <= value <= high else _WRONG


def _double(value: object) -> Any:
    if type(value) is not float and type(value) is not int:
        return _WRONG
    number = float(value) + 0.0  # a negative zero becomes zero
    return number if math.isfinite(number) else _WRONG


def _timestamp(value: object) -> Any:
    moment = microseconds(value) if type(value) is str else None
    return _WRONG if moment is None else moment


_READERS: dict[FieldType, Callable[[object], Any]] = {
    FieldType.STRING: _string,
    FieldType.INT: _whole(FieldType.INT),
    FieldType.BIGINT: _whole(FieldType.BIGINT),
    FieldType.DOUBLE: _double,
    FieldType.BOOLEAN: _boolean,
    FieldType.TIMESTAMP: _timestamp,
}
