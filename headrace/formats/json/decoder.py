"""Decodes blocks of JSON values strictly, as Spark's Python workers run it.

msgspec reads a value straight into the declared types, and refuses nearly all that the contract refuses. What
it takes too easily has a guard:

- It passes over bytes that are not UTF-8 where it needs no text of them. Arrow looks at the whole block.
- It nests as deep as Python recurses where it passes over members. Values that could nest too deep, by their
  length and the number of their brackets, are read member by member.
- It passes over names of any length. Values that are longer than the limit are read member by member.
- It keeps the sign of a zero: adding 0.0 to the column takes it away.
- It takes other moments than the contract does. They are read as text; one regular expression and one cast
  convert the column.

A value that msgspec refuses is read again, member by member, to say what is wrong with it; a few are usable
(an earlier duplicate of another type).

This module needs nothing of Headrace, and is all in one file, so that it can be sent to executors that have
none of it.
"""

import re
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from operator import attrgetter
from typing import Annotated, Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc


class Member(NamedTuple):
    """A declared column: `kind` is the name of its type, `low` and `high` are the limits of whole numbers."""

    name: str
    kind: str
    required: bool
    low: int = 0
    high: int = 0


class Limits(NamedTuple):
    """How deep arrays and objects may nest, and how long names may be, in UTF-16 code units."""

    nesting: int
    name: int


Verdict = tuple[str | None, str | None]
"""Reason and field; both `None` if the value is usable."""

REASONS = pa.struct([("_reason", pa.string()), ("_field", pa.string())])
_USABLE: Verdict = (None, None)
_REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MOMENT = pa.timestamp("us", tz="UTC")
_FIRST_MOMENT, _LAST_MOMENT = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Years 1 to 9999, in microseconds since 1970 (UTC)."""
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DAY = (
    "(?:"
    "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-"
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP_YEAR}-02-29)"
)
RFC_3339 = (
    rf"\A{_DAY}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,6}})?"
    r"(?:Z|[+-](?:(?:0[0-9]|1[0-7]):[0-5][0-9]|18:00))\z"
)
"""RFC 3339 as far as the contract takes it, for RE2; the days that it lets through exist."""

_RFC_3339 = re.compile(RFC_3339.replace(r"\z", r"\Z"))
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)
"""One without an end goes to the end of the value: otherwise each quote in it would be tried as a start."""
_NAME = re.compile(rb'("(?:[^"\\]|\\.)*")[ \t\r\n]*(:?)', re.DOTALL)
_WRONG: Any = object()
"""In place of a value that its type does not take."""


class Decoder:
    """Decodes blocks of values by the declared columns."""

    def __init__(self, members: Sequence[Member], limits: Limits) -> None:
        self.members = members
        self.limits = limits
        self._short = min(2 * (limits.nesting + 1), limits.name)  # no shorter value is beyond a limit
        kinds = [(each, _kind(each)) for each in members]
        self._record = msgspec.defstruct(
            "Record",
            [(m.name, kind) if m.required else (m.name, kind | None, None) for m, kind in kinds],
            kw_only=True,  # a required member may follow an optional one
            gc=False,
        )
        self._decode = msgspec.json.Decoder(self._record).decode
        raw = msgspec.defstruct("Parts", [(m.name, msgspec.Raw, msgspec.Raw()) for m in members], gc=False)
        self._parts = msgspec.json.Decoder(raw).decode
        self._anything = msgspec.json.Decoder(msgspec.Raw).decode
        self._readers = [_reader(member, kind) for member, kind in kinds]
        self._nothing = self._record(**dict.fromkeys(member.name for member in members))

    @property
    def type(self) -> pa.StructType:
        """What a block becomes: the columns, `_reason` and `_field`."""
        columns = [pa.field(each.name, _ARROW[each.kind]) for each in self.members]
        return pa.struct([*columns, *REASONS])

    def reasons(self, block: pa.Array) -> pa.StructArray:
        """Say only why values are unusable: `_reason` and `_field`."""
        _, _, verdicts = self._decoded(block)
        return pa.StructArray.from_arrays(_said(verdicts, len(block)), fields=list(REASONS))

    def __call__(self, block: pa.Array) -> pa.StructArray:
        """Decode a block."""
        rows, moments, verdicts = self._decoded(block)
        columns = []
        for member in self.members:
            if member.name in moments:
                columns.append(moments[member.name])
                continue
            column = pa.array(map(attrgetter(member.name), rows), _ARROW[member.kind], size=len(rows))
            columns.append(pc.add(column, 0.0) if member.kind == "double" else column)
        return pa.StructArray.from_arrays([*columns, *_said(verdicts, len(rows))], fields=list(self.type))

    def _decoded(self, block: pa.Array) -> tuple[list[Any], dict[str, pa.Array], dict[int, Verdict]]:
        """The rows of a block, their moments by column, and what is wrong with which row."""
        values = block.to_pylist()
        rows, left = self._read(values, is_plain=self._is_plain(block))
        verdicts: dict[int, Verdict] = {}
        for at in left:
            rows[at], verdict = self._judge(values[at])
            if verdict != _USABLE:
                verdicts[at] = verdict
        moments = {}
        for member in self.members:
            if member.kind == "timestamp":
                text = pa.array(map(attrgetter(member.name), rows), pa.string(), size=len(rows))
                moments[member.name] = found = _moments(text)
                # All else of these values has its type, so the first such member is what is wrong.
                for at in pc.indices_nonzero(pc.and_(text.is_valid(), found.is_null())).to_pylist():
                    verdicts.setdefault(at, ("wrong_type", member.name))
        return rows, moments, verdicts

    def _is_plain(self, block: pa.Array) -> bool:
        """Whether all values are there, short, and UTF-8."""
        try:
            text = block.cast(pa.string())
        except pa.ArrowInvalid:
            return False
        return not block.null_count and (pc.max(pc.binary_length(text)).as_py() or 0) < self._short

    def _read(self, values: Sequence[bytes | None], *, is_plain: bool) -> tuple[list[Any], list[int]]:
        """Decode what msgspec accepts; returns the rows, and the positions of the values that it refuses."""
        rows: list[Any] = []
        left: list[int] = []
        decode: Callable[[Any], Any] = self._decode
        short = self._short
        for at, value in enumerate(values):
            try:
                if not is_plain:  # here and not in a function, which would be called for each record
                    if value is None or (len(value) >= short and self._may_be_beyond_limits(value)):
                        raise msgspec.DecodeError
                    if not value.isascii():
                        value.decode()
                rows.append(decode(value))
            except _REFUSED:
                rows.append(self._nothing)
                left.append(at)
        return rows, left

    def _may_be_beyond_limits(self, value: bytes) -> bool:
        brackets = value.count(b"[") + value.count(b"{")
        return brackets > self.limits.nesting or len(value) > self.limits.name

    def _judge(self, value: bytes | None) -> tuple[Any, Verdict]:
        """Read a value member by member: a record, moments as text, or what is wrong with it."""
        if (reason := self._unreadable(value)) or value is None:
            return self._nothing, (reason, None)
        parts = self._parts(value)
        row: dict[str, Any] = {}
        missing = None
        for member, read in zip(self.members, self._readers, strict=True):
            text = bytes(getattr(parts, member.name))
            found = None if text in {b"", b"null"} else read(text)
            if found is _WRONG:
                return self._nothing, ("wrong_type", member.name)
            if found is None and member.required and missing is None:
                missing = member.name
            row[member.name] = found
        return (self._nothing, ("missing_field", missing)) if missing else (self._record(**row), _USABLE)

    def _unreadable(self, value: bytes | None) -> str | None:
        """Why a value is no object of JSON, if it is none."""
        if value is None:
            return "null_value"
        if not value:
            return "empty_value"
        try:
            value.decode()
        except UnicodeDecodeError:
            return "not_utf8"
        is_object = value.lstrip(b" \t\r\n")[:1] == b"{"
        return (None if is_object else "not_object") if self._is_json(value) else "not_json"

    def _is_json(self, value: bytes) -> bool:
        """Whether it is one JSON value and nothing else, within the limits."""
        if self._may_be_beyond_limits(value) and _nesting(value) > self.limits.nesting:
            return False
        try:
            self._anything(value)
        except _REFUSED:
            return False
        return len(value) <= self.limits.name or _longest_name(value) <= self.limits.name


class _NoPandas(MetaPathFinder):
    """Where pandas is installed, pyarrow imports it for the first list, which takes a worker a second."""

    @staticmethod
    def find_spec(name: str, *_: Any) -> None:
        """Raise `ModuleNotFoundError` for pandas."""
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def in_worker(
    members: Sequence[Member], limits: Limits, *, reasons_only: bool = False
) -> Callable[[pa.Array], pa.Array]:
    """Return a function that decodes a block, with a decoder that is made once per task."""
    made: list[Callable[[pa.Array], pa.Array]] = []

    def decode(block: pa.Array) -> pa.Array:
        if not made:
            if _NoPandas not in sys.meta_path:
                sys.meta_path.insert(0, _NoPandas)
            one = Decoder(members, limits)
            made.append(one.reasons if reasons_only else one)
        return made[0](block)

    return decode


def _said(verdicts: dict[int, Verdict], count: int) -> list[pa.Array]:
    """Reasons and fields of a block."""
    if not verdicts:
        return [pa.nulls(count, pa.string())] * 2
    reasons: list[str | None] = [None] * count
    fields: list[str | None] = [None] * count
    for at, (reason, field) in verdicts.items():
        reasons[at], fields[at] = reason, field
    return [pa.array(reasons, pa.string()), pa.array(fields, pa.string())]


_ARROW = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": _MOMENT,
}


def _kind(member: Member) -> Any:
    """What msgspec reads a member as."""
    match member.kind:
        case "string" | "timestamp":
            return str
        case "int" | "bigint":
            return Annotated[int, msgspec.Meta(ge=member.low, le=member.high)]
        case "double":
            return float
        case "boolean":
            return bool
        case kind:
            raise NotImplementedError(kind)


def _reader(member: Member, kind: Any) -> Callable[[bytes], Any]:
    """Return a function that reads a member's text, which is JSON and not null, or says `_WRONG`."""
    decode = msgspec.json.Decoder(kind).decode

    def read(text: bytes) -> Any:
        try:
            found = decode(text)
        except _REFUSED:
            return _WRONG
        return _WRONG if member.kind == "timestamp" and not _is_moment(found) else found

    return read


def _moments(texts: pa.StringArray) -> pa.Array:
    """RFC 3339 as moments; null for what the contract does not take."""
    fits = pc.if_else(pc.match_substring_regex(texts, RFC_3339), texts, pa.scalar(None, pa.string()))
    found = fits.cast(_MOMENT)
    number = found.cast(pa.int64())
    is_in_range = pc.and_(pc.greater_equal(number, _FIRST_MOMENT), pc.less_equal(number, _LAST_MOMENT))
    return pc.if_else(is_in_range, found, pa.scalar(None, _MOMENT))


def _is_moment(text: str) -> bool:
    """Whether a text is one of RFC 3339's, and within the years. Fast but for the first and the last year."""
    if not _RFC_3339.fullmatch(text):
        return False
    return text[:4] not in {"0001", "9999"} or not _moments(pa.array([text], pa.string())).null_count


def _nesting(value: bytes) -> int:
    """How deep brackets lie in each other, outside of strings."""
    depth = deepest = 0
    for byte in _STRING.sub(b"", value):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _longest_name(value: bytes) -> int:
    """The length of the longest name in JSON, in UTF-16 code units."""
    names = [found[1] for found in _NAME.finditer(value) if found[2] and found[1] != b'""']
    return max(
        (len(msgspec.json.decode(name, type=str).encode("utf-16-le")) // 2 for name in names), default=0
    )
