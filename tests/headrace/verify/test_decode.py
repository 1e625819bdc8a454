"""The second engine's decoding, on its own."""

import pytest

from headrace.contract.verdicts import Reason
from headrace.formats.decoding import decoder
from headrace.formats.json.reference import parse
from headrace.verify import engine
from headrace.verify.judge import Judge
from tests.headrace.contract.hostile import JSON, JSON_CONTRACT, TEXT, TEXT_CONTRACT


def test_text() -> None:
    """Hostile text gets the reason that the contract says."""
    decode = decoder(TEXT_CONTRACT)
    assert [(value, decode(value)[0]) for value, _ in TEXT] == TEXT


def test_json() -> None:
    """Hostile JSON gets the reason that the contract says."""
    decode = decoder(JSON_CONTRACT)
    assert [(value, decode(value)[0]) for value, _ in JSON] == JSON


def test_values() -> None:
    """The row holds the fields in order.

    Numbers as numbers, timestamps in microseconds, the last of several keys.
    """
    value = b'{"t":"1970-01-01T01:00:01.5+01:00","s":"\\u00e9","x":{},"b":true,"i":-5,"d":-0.0,"id":1,"id":9007199254740993}'
    reason, _, row = decoder(JSON_CONTRACT)(value)
    assert reason is None
    assert repr(row) == "(9007199254740993, -5, 0.0, True, 'é', 1500000)"


def test_an_unusable_record_has_no_values() -> None:
    """No field of a quarantined record is taken for one that was read."""
    assert decoder(JSON_CONTRACT)(b'{"id":1,"s":5}') == (Reason.WRONG_TYPE, "s", (None,) * 6)


@pytest.mark.parametrize("text", ["{} x", "[1,]", "NaN", "\ufeff1", '"\\ud800"', "\x0b1"])
def test_parse_is_strict(text: str) -> None:
    """Only RFC 8259 is JSON."""
    with pytest.raises(ValueError):  # noqa: PT011 - each parser's own
        parse(text)


def test_a_document_cut_off_within_an_escaped_one_is_judged_in_one_pass() -> None:
    """Each quote in a string that has no end must not lead to another search for one.

    This would take hours.
    """
    inner = '{\\"a\\":[{\\"b\\":[1,2]}]}' * 40_000
    assert decoder(JSON_CONTRACT)(f'{{"id":1,"payload":"{inner}'.encode()) == (
        Reason.NOT_JSON,
        None,
        (None,) * 6,
    )


def test_a_block_keeps_its_order() -> None:
    """Row by row, the table says what became of the values."""
    values = [b"important %d" % number if number % 3 else b"\xff" for number in range(10_000)]
    judged = Judge(TEXT_CONTRACT, engine.connect()).judge(values)
    assert judged.column_names == ["_reason", "_field", "value", "_verdict"]
    assert judged["_verdict"].to_pylist() == [
        "kept" if number % 3 else "quarantined" for number in range(10_000)
    ]
    assert judged["value"].to_pylist() == [
        f"important {number}" if number % 3 else None for number in range(10_000)
    ]


def test_an_empty_block() -> None:
    """No values, no rows, but all columns."""
    judged = Judge(JSON_CONTRACT, engine.connect()).judge([])
    assert judged.column_names == ["_reason", "_field", "id", "i", "d", "b", "s", "t", "_verdict"]
    assert judged.num_rows == 0


@pytest.mark.parametrize(
    ("value", "reason", "field"),
    [
        (b'{"id":"x","i":"y"}', Reason.WRONG_TYPE, "id"),
        (b'{"i":"y","b":1}', Reason.WRONG_TYPE, "i"),
        (b'{"i":1}', Reason.MISSING_FIELD, "id"),
        (b"[]", Reason.NOT_OBJECT, None),
    ],
)
def test_the_first_declared_field_that_a_reason_is_about_is_named(
    value: bytes, reason: Reason, field: str | None
) -> None:
    """In the order of the contract, whatever the order in the record.

    A wrong type anywhere comes before a missing field.
    """
    assert decoder(JSON_CONTRACT)(value)[:2] == (reason, field)
