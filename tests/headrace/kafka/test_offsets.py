"""Ranges join, or say where they don't."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.kafka.offsets import OffsetRange, advance, between, merged, without

POSITIONS = st.dictionaries(st.sampled_from(["a", "b"]), st.dictionaries(st.integers(0, 3), st.integers(0, 50), min_size=1), min_size=1)


def test_a_range_that_runs_backwards_does_not_exist() -> None:
    """Illegal states don't construct."""
    with pytest.raises(ValueError, match="runs backwards"):
        OffsetRange("a", 0, 5, 3)


@given(POSITIONS, st.integers(0, 20), st.integers(0, 20))
def test_what_is_between_leads_from_one_to_the_other(start: dict[str, dict[int, int]], first: int, second: int) -> None:
    """Advancing over the ranges between positions ends at the later ones, in one step as in two."""
    middle = {topic: {p: offset + first for p, offset in each.items()} for topic, each in start.items()}
    end = {topic: {p: offset + second for p, offset in each.items()} for topic, each in middle.items()}
    assert advance(start, between(start, end)) == end
    assert advance(advance(start, between(start, middle)), between(middle, end)) == end


@given(st.integers(0, 20), st.integers(0, 20))
def test_a_hole_and_an_overlap_are_told(stands: int, starts: int) -> None:
    """A range that does not start where its partition stands is refused, with the offsets."""
    one = OffsetRange("a", 0, starts, starts + 5)
    if stands == starts:
        assert advance({"a": {0: stands}}, [one]) == {"a": {0: starts + 5}}
    else:
        with pytest.raises(ValueError, match="leaves out" if starts > stands else "overlaps"):
            advance({"a": {0: stands}}, [one])


def test_a_partition_without_start_is_told() -> None:
    """Neither a plan nor an entry can speak of a partition that nobody knows."""
    with pytest.raises(ValueError, match="a-1 has no start offset"):
        between({"a": {0: 0}}, {"a": {0: 3, 1: 3}})
    with pytest.raises(ValueError, match="no known partition"):
        advance({"a": {0: 0}}, [OffsetRange("b", 0, 0, 1)])


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6))
def test_what_is_left_and_what_is_taken_make_the_whole(cuts: list[tuple[int, int]]) -> None:
    """Every offset of the whole is in what is left or in a cut, and never in both."""
    whole = OffsetRange("a", 0, 5, 35)
    taken = [OffsetRange("a", 0, min(cut), max(cut)) for cut in cuts]
    left = without(whole, taken)
    for offset in range(40):
        assert (offset in whole and not any(offset in each for each in taken)) == any(offset in each for each in left)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10))))
def test_merged_ranges_hold_the_same_offsets_and_do_not_touch(ends: list[tuple[int, int]]) -> None:
    """Whatever overlaps or joins becomes one."""
    ranges = [OffsetRange("a", 0, start, start + length) for start, length in ends]
    apart = merged(ranges)
    assert {offset for each in apart for offset in range(each.from_offset, each.until_offset)} == {
        offset for each in ranges for offset in range(each.from_offset, each.until_offset)
    }
    assert all(one.until_offset < following.from_offset for one, following in itertools.pairwise(apart))
