"""Names of JSON fields that no contract declares, from a sample."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import ledgers
from headrace.verify import engine, undeclared
from headrace.verify.judge import Judge
from headrace.verify.result import InvariantState, Undeclared
from ledgers import Ledger
from tests.headrace.contract.hostile import JSON, JSON_CONTRACT, TEXT, TEXT_CONTRACT

JSON_FILE = ledgers.FILE.replace('format = "text"', 'format = "json"') + '\n[fields]\nvalue = "string"\n'


def judged(values: Sequence[bytes | None], offsets: int | None = None) -> Undeclared | None:
    """What the sample of a run over these records says, judged in three blocks."""
    sample = undeclared.Undeclared(len(values) if offsets is None else offsets)
    judge = Judge(JSON_CONTRACT, engine.connect(), sample)
    third = len(values) // 3
    for block in (values[:third], values[third : 2 * third], values[2 * third :]):
        judge.judge(block)
    return sample.account


def record(**fields: object) -> bytes:
    """A record with the one field that is required."""
    return json.dumps({"id": 1, **fields}).encode()


def test_undeclared_fields_are_named_the_usual_ones_first() -> None:
    """Also those of a record that is unusable: a name with a typing error is what makes it so.

    Within nested objects nothing is declared.
    """
    values = [
        record(device="a", i=1),
        record(device="b"),
        record(readings={"inner": 1}),
        b'{"Id":1}',
        b"[1]",
        b"\xff",
        None,
    ]
    found = judged(values)
    assert found == Undeclared(sample=7, fields=["device", "Id", "readings"], more=False)


def test_records_with_nothing_else_leave_no_name() -> None:
    """The sample is there, and empty: that differs from not having looked."""
    assert judged([record(s="x")] * 6) == Undeclared(sample=6, fields=[], more=False)
    assert judged([]) is None


def test_a_sample_is_spread_over_the_run_and_bounded() -> None:
    """What only the last topic's records have is found.

    Of two million offsets at most 10,000 records are looked at.
    """
    values = [record()] * 40_000 + [record(late=1)] * 5_000
    found = judged(values)
    assert found is not None
    assert 8_000 <= found.sample <= undeclared.SAMPLE
    assert found.fields == ["late"]
    few = judged(values, offsets=2_000_000)
    assert few is not None
    assert few.sample == 45_000 // 200


def test_any_number_of_names_of_any_length_is_bounded() -> None:
    """Names that are data, such as those of a map by customer, do not fill a report."""
    found = judged(
        [
            record(**{f"customer {number}": 1 for number in range(at, at + 3_000)})
            for at in range(0, 9_000, 3_000)
        ]
    )
    assert found is not None
    assert len(found.fields) == undeclared.MAX_NAMES
    assert found.more
    long = judged([record(**{"x" * 20_000: 1})])
    assert long is not None
    assert len(long.fields[0]) < 100


@pytest.mark.parametrize(("contract", "cases"), [(TEXT_CONTRACT, TEXT), (JSON_CONTRACT, JSON)])
def test_a_sample_changes_no_verdict(contract: object, cases: Sequence[tuple[bytes | None, object]]) -> None:
    """Hostile records get the reason that they get without one."""
    values = [value for value, _ in cases]
    with_one = Judge(contract, engine.connect(), undeclared.Undeclared(3 * undeclared.SAMPLE))  # type: ignore[arg-type]
    without = Judge(contract, engine.connect())  # type: ignore[arg-type]
    assert with_one.judge(values).equals(without.judge(values))


def test_text_has_no_fields() -> None:
    """Then nothing is said."""
    sample = undeclared.Undeclared(1)
    Judge(TEXT_CONTRACT, engine.connect(), sample).judge([b"{}"])
    assert sample.account is None


def test_a_run_counts_each_record_once_and_keeps_its_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Undeclared fields are green.

    Micro-batches that are doubted are judged again, which adds nothing to the sample.
    """
    monkeypatch.setattr(ledgers, "FILE", JSON_FILE)
    plain = [(b"k", b'{"value":"other","device":1}')] * 8
    green = Ledger.made(tmp_path / "green", plain, [4, 8]).look()
    assert green.state == "green"
    assert green.undeclared == Undeclared(sample=8, fields=["device"], more=False)
    red = Ledger.made(
        tmp_path / "red", [*plain[:6], (b"k", b'{"value":"important","device":1}'), plain[0]], [4, 8]
    ).look()
    assert [each.id for each in red.invariants if each.state is InvariantState.BROKEN] == ["I4"]
    assert red.undeclared == Undeclared(sample=8, fields=["device"], more=False)
