"""The types of declared columns.

How each is named, how its column lies in Parquet and in a filter, and what a demo makes up for it.

How a value is read as a type is decided in `formats/`, once per engine.
"""

from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from headrace.contract.timestamps import microseconds
from headrace.documents import Stored

if TYPE_CHECKING:
    import pyarrow as pa

_SAMPLES_FROM = datetime(2026, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    """What a part of a filter is. `int` and `bigint` are one kind."""

    STRING = "string"
    INTEGER = "integer"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"

    @property
    def described(self) -> str:
        """With its article."""
        return f"{'an' if self == Kind.INTEGER else 'a'} {self}"


class Type(Stored, ABC):
    """Type of a declared column. It prints as in the pipeline file, which is Spark's own name for it."""

    kind: ClassVar[Kind]
    """What its column is in a filter."""

    @abstractmethod
    def __str__(self) -> str:
        """Its name."""

    @property
    @abstractmethod
    def arrow(self) -> "pa.DataType":
        """The type of its column in Parquet, and in the second engine."""

    @abstractmethod
    def takes(self, value: object) -> bool:
        """Whether a value of the pipeline file's `[demo.values]` is one of it."""

    @abstractmethod
    def sample_value(self, choice: int) -> Any:
        """A value for a demo record, by a number drawn at random."""

    def __repr__(self) -> str:
        return str(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Type) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def to_json(self) -> str:
        """Its name."""
        return str(self)

    @classmethod
    def from_json(cls, value: object) -> "Type":
        """By its name."""
        if not isinstance(value, str) or value not in TYPES:
            raise ValueError(f"{value!r} is no type: there are {', '.join(TYPES)}")
        return TYPES[value]

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """One of the names."""
        return {"enum": sorted(TYPES)}


class String(Type):
    """Text."""

    kind = Kind.STRING

    def __str__(self) -> str:
        return "string"

    @property
    def arrow(self) -> "pa.DataType":
        """UTF-8."""
        import pyarrow as pa

        return pa.string()

    def takes(self, value: object) -> bool:
        """Any text."""
        return isinstance(value, str)

    def sample_value(self, choice: int) -> str:
        """A word and the number."""
        return f"text {choice}"


class Integer(Type):
    """Whole numbers of so many bits, with a sign."""

    kind = Kind.INTEGER

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def __str__(self) -> str:
        return {32: "int", 64: "bigint"}[self.bits]

    @property
    def lowest(self) -> int:
        """The lowest number."""
        return -(1 << self.bits - 1)

    @property
    def highest(self) -> int:
        """The highest number."""
        return (1 << self.bits - 1) - 1

    @property
    def arrow(self) -> "pa.DataType":
        """Signed, of as many bits."""
        import pyarrow as pa

        return {32: pa.int32(), 64: pa.int64()}[self.bits]

    def takes(self, value: object) -> bool:
        """A whole number that fits."""
        return type(value) is int and self.lowest <= value <= self.highest

    def sample_value(self, choice: int) -> int:
        """0 to 99 for `int`; a number beyond 32 bits for `bigint`."""
        return choice % 100 if self.bits == INT.bits else 10_000_000_000 + choice


class Double(Type):
    """Finite numbers of 64 bits."""

    kind = Kind.DOUBLE

    def __str__(self) -> str:
        return "double"

    @property
    def arrow(self) -> "pa.DataType":
        """Of 64 bits."""
        import pyarrow as pa

        return pa.float64()

    def takes(self, value: object) -> bool:
        """Any finite number."""
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")

    def sample_value(self, choice: int) -> float:
        """A multiple of 0.25, which both engines write alike."""
        return choice / 4


class Boolean(Type):
    """True or false."""

    kind = Kind.BOOLEAN

    def __str__(self) -> str:
        return "boolean"

    @property
    def arrow(self) -> "pa.DataType":
        """Arrow's Boolean."""
        import pyarrow as pa

        return pa.bool_()

    def takes(self, value: object) -> bool:
        """True or false."""
        return isinstance(value, bool)

    def sample_value(self, choice: int) -> bool:
        """Each half of the time."""
        return choice % 2 == 0


class Timestamp(Type):
    """Moments of the years 1 to 9999, in microseconds."""

    kind = Kind.TIMESTAMP

    def __str__(self) -> str:
        return "timestamp"

    @property
    def arrow(self) -> "pa.DataType":
        """Microseconds since 1970, in UTC."""
        import pyarrow as pa

        return pa.timestamp("us", tz="UTC")

    def takes(self, value: object) -> bool:
        """RFC 3339, as far as the contract takes it."""
        return isinstance(value, str) and microseconds(value) is not None

    def sample_value(self, choice: int) -> str:
        """So many minutes after the beginning of 2026."""
        return (_SAMPLES_FROM + timedelta(minutes=choice)).isoformat().replace("+00:00", "Z")


STRING, INT, BIGINT, DOUBLE, BOOLEAN, TIMESTAMP = (
    String(),
    Integer(32),
    Integer(64),
    Double(),
    Boolean(),
    Timestamp(),
)
TYPES: dict[str, Type] = {str(each): each for each in (STRING, INT, BIGINT, DOUBLE, BOOLEAN, TIMESTAMP)}
"""All there are, by their names."""
