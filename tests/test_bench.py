"""The benchmark's bounds; what it measures is not tested here."""

import pytest

from tests.bench.bounds import BOUNDS, Bound, Measured, seconds
from tests.bench.measure import Took


@pytest.mark.parametrize(
    ("is_speed", "ours", "ratio", "is_missed"),
    [(False, 2.0, 0.5, False), (False, 4.0, 1.0, True), (True, 4.0, 1.0, False), (True, 6.0, 2 / 3, True)],
)
def test_a_bound_is_missed_on_its_own_side(
    is_speed: bool, ours: float, ratio: float, is_missed: bool
) -> None:
    """A time may be too high, a speed too low."""
    bound = Bound(
        "a", "b", seconds("ours"), seconds("theirs"), 0.9, 1.5, is_speed=is_speed, holds_back="Parsing does."
    )
    measured = Measured()
    for took in (ours - 1, ours, ours + 5):
        measured.keep("ours", Took(took))
    measured.keep("theirs", Took(4.0))
    assert bound.ratio(measured) == pytest.approx(ratio)
    assert bound.is_missed(measured) is is_missed
    assert ("missed**: Parsing does." in bound.said(measured)) is is_missed


def test_what_was_not_measured_is_missed_unless_it_may_be_left_out() -> None:
    """Otherwise a program with another name would pass every bound."""
    nothing = Measured()
    assert {bound.said(nothing) for bound in BOUNDS} == {"not measured"}
    assert {bound.is_missed(nothing) for bound in BOUNDS if not bound.is_optional} == {True}
    assert not any(bound.is_missed(nothing) for bound in BOUNDS if bound.is_optional)
