"""The quick ways to read JSON against the exact one: what they take, they take as it does.

Spark's side decodes whole blocks; the second engine reads blocks, or value by value. Each hostile value is
tried alone, at every place of a good record, and among good records.
"""

import random
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pyarrow as pa
import pytest

from headrace.contract.types import INT, STRING
from headrace.contract.verdicts import Contract, Field
from headrace.formats.decoding import decoder
from headrace.formats.json.blocks import whole
from headrace.formats.json.contract import MAX_KEY_LENGTH, MAX_NESTING
from headrace.formats.json.decoder import Decoder, Limits
from headrace.formats.json.moments import Moments
from headrace.formats.json.quick import quick
from headrace.formats.json.spark import member
from tests.headrace.contract.hostile import JSON, JSON_CONTRACT
from tests.spark_apps.mutated import mutated, sampled

FIELDS = JSON_CONTRACT.fields
GOOD = (
    b'{"id":7,"i":1,"d":-2.5,"b":false,"s":"a\\u00e9b","t":"2026-01-31T23:59:59.25+01:00","x":[{"y":null}]}'
)
EXACT = cache(decoder(JSON_CONTRACT))
BEFORE_AND_AFTER = [
    (b"", GOOD),
    (GOOD, b""),
    (GOOD[:-1] + b',"x":', b"}"),
    (GOOD[:-1] + b',"x":[', b"]}"),
    (GOOD[:-1] + b',"x":[1,', b",2]}"),
    (GOOD[:-1] + b',"x":{"y":', b"}}"),
    (GOOD[:-1] + b',"', b'":1}'),
    (GOOD[:-1] + b',"x":"', b'"}'),
    (b'{"x":', b"," + GOOD[1:]),
    (b'{"x":{"id":', b"}," + GOOD[1:]),
    (b'{"', b'":1,' + GOOD[1:]),
    *((b'{"' + name + b'":', b"," + GOOD[1:]) for name in (b"id", b"i", b"d", b"b", b"s", b"t")),
    *((GOOD[:-1] + b',"' + name + b'":', b"}") for name in (b"id", b"i", b"d", b"b", b"s", b"t")),
    (GOOD[:-1] + b',"s":"', b'"}'),
    (GOOD[:-1] + b',"t":"', b'"}'),
]
MUTATED = 3_000


@pytest.fixture(scope="module")
def values() -> list[bytes | None]:
    """Some twenty thousand, of all kinds."""
    alone = [value for value, _ in JSON]
    embedded = [
        before + value + after
        for value in alone
        if value is not None and len(value) < 5_000
        for before, after in BEFORE_AND_AFTER
    ]
    return [*alone, *embedded, *sampled(mutated(), MUTATED)]


def blocks(values: Sequence[bytes | None]) -> Iterator[list[bytes | None]]:
    """Each value alone and between good ones, and all of them, shuffled, in blocks of a hundred."""
    for value in values:
        yield [value]
        yield [GOOD, value, GOOD]
    shuffled = list(values)
    random.Random(1).shuffle(shuffled)
    for start in range(0, len(shuffled), 100):
        yield shuffled[start : start + 100]


def rows(columns: Sequence[pa.Array]) -> list[str]:
    """Rows as text: it tells zeros apart, and numbers from booleans."""
    plain: list[Sequence[Any]] = [
        (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for column in columns
    ]
    return [repr(row) for row in zip(*plain, strict=True)]


def exact(block: Sequence[bytes | None]) -> list[tuple[str | None, str | None, str]]:
    """Reason, field and row of each value, by the exact way."""
    return [(reason, field, repr(row)) for reason, field, row in map(EXACT, block)]


def test_spark_s_side(values: list[bytes | None]) -> None:
    """Reason, field and columns; of an unusable value the columns do not count."""
    decode = Decoder([member(field) for field in FIELDS], Limits(MAX_NESTING, MAX_KEY_LENGTH))
    for block in blocks(values):
        of_block = pa.array(block, pa.binary())
        found = decode(of_block).flatten()
        assert decode.reasons(of_block).flatten() == found[-2:]
        verdicts = zip(found[-2].to_pylist(), found[-1].to_pylist(), strict=True)
        for value, row, verdict, wanted in zip(block, rows(found[:-2]), verdicts, exact(block), strict=True):
            assert verdict == wanted[:2], value
            assert verdict[0] or row == wanted[2], value


def test_value_by_value(values: list[bytes | None]) -> None:
    """What it does not leave to the exact way is as there; most good values it does not leave."""
    read, left_usable, taken = quick(FIELDS), 0, 0
    for block in blocks(values):
        columns, left = read(block)
        for at, (value, found, wanted) in enumerate(zip(block, rows(columns), exact(block), strict=True)):
            if at in left:
                left_usable += wanted[0] is None
            else:
                assert (None, None, found) == wanted, value
                taken += 1
    assert taken > 50 * left_usable > 0


def test_whole_blocks(values: list[bytes | None]) -> None:
    """What is read whole is as by the exact way; also values that only make sense together."""
    read, taken = whole(FIELDS), 0
    cut: list[list[bytes | None]] = [
        [GOOD, *parts, GOOD]
        for value in values
        if value is not None and 0 < len(value) < 500
        for at in range(1, len(value), max(1, len(value) // 4))
        for parts in ([value[:at], value[at:]], [value[:at] + b"}", b"{" + value[at:]])
    ]
    for block in [*blocks(values), *cut]:
        if (columns := read(block)) is not None:
            taken += 1
            assert [(None, None, row) for row in rows(columns)] == exact(block), block
    assert taken > 1_000
    assert read([]) is None


@pytest.mark.parametrize("length", [0, 1_000, 2_000, 40_000])
def test_good_values_take_the_quick_ways(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also large ones, and many that are empty. Otherwise it is slow, and nothing else says so."""
    block = [GOOD[:-1] + b',"y":"' + b"y" * length + b'"}'] * 100
    assert whole(FIELDS)(block) is not None
    assert quick(FIELDS)([*block, b"{"])[1] == {100}
    decode = Decoder([member(field) for field in FIELDS], Limits(MAX_NESTING, MAX_KEY_LENGTH))

    def slow(_: bytes) -> None:
        raise AssertionError

    monkeypatch.setattr(decode, "_judge", slow)
    assert decode(pa.array(block, pa.binary())).field("_reason").null_count == 100


@pytest.mark.parametrize("required", [(True, False), (False, True)])
def test_the_order_of_required_fields_does_not_matter(required: tuple[bool, bool]) -> None:
    """An optional one may come first."""
    fields = tuple(
        Field(name, kind, required=each)
        for name, kind, each in zip(("a", "b"), (INT, STRING), required, strict=True)
    )
    decode = Decoder([member(field) for field in fields], Limits(MAX_NESTING, MAX_KEY_LENGTH))
    block = [b'{"a":1,"b":"x"}', b'{"b":"x"}', b'{"a":1}', b'{"a":"x"}', b"{}"]
    found = decode(pa.array(block, pa.binary())).flatten()
    wanted = [decoder(Contract(format="json", fields=fields, filter="a > 0"))(value) for value in block]
    assert [
        (reason, about) for reason, about in zip(found[2].to_pylist(), found[3].to_pylist(), strict=True)
    ] == [(reason, about) for reason, about, _ in wanted]
    assert rows(found[:2])[0] == repr(wanted[0][2])


def test_an_unclosed_string_takes_no_longer_than_a_closed_one() -> None:
    """Each quote in it could be the start of another; a hundred thousand would take hours."""
    decode = Decoder([member(field) for field in FIELDS], Limits(MAX_NESTING, MAX_KEY_LENGTH))
    value = b'{"id":1,"x":"' + b"[" * 1_000 + b'\\"' * 100_000
    assert decode(pa.array([value])).field("_reason").to_pylist() == ["not_json"]


def test_what_is_no_timestamp_is_not_remembered() -> None:
    """It may be of any length, and there may be any number of it."""
    moments = Moments()
    texts = [f"2026-01-31T23:59:59Z{'x' * 1_000}{number}" for number in range(100)]
    assert [moments[text] for text in texts] == [None] * 100
    assert moments["2026-01-31T23:59:59Z"] == moments["2026-02-01T00:59:59+01:00"] is not None
    parts = (moments._minutes, moments._seconds, moments._rests)  # noqa: SLF001
    assert [len(each) for each in parts] == [2, 1, 2]
