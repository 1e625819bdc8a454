"""The second engine's quickest way for JSON: pyarrow reads whole blocks of plainly usable values.

A block that has another value is given up, and its values are read one by one (`quick.py`). pyarrow takes
more than the contract does, or ends the process; so a block has to pass these guards:

- No value is null, or could be nested too deep or have too long a name, by its length and its brackets.
- Each begins with `{` and ends with `}`, and none has a newline: pyarrow passes over a mark of byte order,
  and dies of a block that begins with `null`. Where it then reads as many records as there are values, each
  is one: a value that ended early or late would leave a newline within an object or a string.
- `NaN` and `Inf` are nowhere: it takes both for numbers.
- All bytes are UTF-8, by Python's decoder: pyarrow does not look.
- Doubles are finite, and a zero loses its sign; moments are read as text, and converted here.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from headrace.contract.types import Double, Timestamp
from headrace.contract.verdicts import Field
from headrace.formats.json.contract import MAX_KEY_LENGTH, MAX_NESTING
from headrace.formats.json.moments import Moments

_SHORT = 2 * (MAX_NESTING + 1)
"""No value of fewer bytes is nested too deep, or has too long a name."""


def may_be_beyond_limits(value: bytes) -> bool:
    """Whether a value could be nested too deep, or have too long a name."""
    return len(value) >= _SHORT and (
        value.count(b"[") + value.count(b"{") > MAX_NESTING or len(value) > MAX_KEY_LENGTH
    )


_FIRST: Callable[[bytes], int] = itemgetter(0)
_LAST: Callable[[bytes], int] = itemgetter(-1)


def whole(fields: tuple[Field, ...]) -> Callable[[Sequence[bytes | None]], list[pa.Array] | None]:
    """Return a function that reads a block into columns, or gives it up."""
    schema = pa.schema(
        [
            (field.name, pa.string() if isinstance(field.type, Timestamp) else field.type.arrow)
            for field in fields
        ]
    )
    parsing = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    moments = Moments()

    def read(values: Sequence[bytes | None]) -> list[pa.Array] | None:
        if (joined := _joined(values)) is None:
            return None
        reading = pj.ReadOptions(use_threads=False, block_size=len(joined) + 1)
        try:
            table = pj.read_json(pa.BufferReader(joined), reading, parsing)
        except pa.ArrowInvalid:
            return None
        if table.num_rows != len(values):
            return None
        columns = [_column(field, table.column(field.name).combine_chunks(), moments) for field in fields]
        return columns if all(column is not None for column in columns) else None

    return read


def _joined(values: Sequence[bytes | None]) -> bytes | None:
    """The values with newlines between them, if all pass the guards."""
    if not all(values):
        return None
    there = cast(Sequence[bytes], values)
    if not there or (max(map(len, there)) >= _SHORT and any(map(may_be_beyond_limits, there))):
        return None
    joined = b"\n".join(there)
    try:
        joined.decode()
    except UnicodeDecodeError:
        return None
    is_plain = (
        set(map(_FIRST, there)) == {ord("{")}
        and set(map(_LAST, there)) == {ord("}")}
        and joined.count(b"\n") == len(there) - 1
        and b"NaN" not in joined
        and b"Inf" not in joined
    )
    return joined if is_plain else None


def _column(field: Field, column: pa.Array, moments: Moments) -> pa.Array | None:
    """A column as the contract has it, or nothing if a value of it needs a closer look."""
    if field.required and column.null_count:
        return None
    if isinstance(field.type, Double):
        column = pc.add(column, 0.0)
        return column if pc.all(pc.is_finite(column), min_count=0).as_py() else None
    if isinstance(field.type, Timestamp):
        found = [None if text is None else moments[text] for text in column.to_pylist()]
        return pa.array(found, field.type.arrow) if found.count(None) == column.null_count else None
    return column
