"""Ranges join, or say where they don't."""

import itertools
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import documents
from headrace.kafka.offsets import (
    Extent,
    OffsetRange,
    Offsets,
    TopicPartition,
    advance,
    between,
    merged,
    without,
)

OFFSETS = st.dictionaries(
    st.builds(TopicPartition, st.sampled_from(["a", "b"]), st.integers(0, 3)), st.integers(0, 50), min_size=1
).map(Offsets)
A0 = TopicPartition("a", 0)


def test_a_range_that_runs_backwards_does_not_exist() -> None:
    """Illegal states don't construct."""
    with pytest.raises(ValueError, match="runs backwards"):
        OffsetRange("a", 0, 5, 3)


@given(OFFSETS, st.integers(0, 20), st.integers(0, 20))
def test_what_is_between_leads_from_one_to_the_other(start: Offsets, first: int, second: int) -> None:
    """Advancing over the ranges between offsets ends at the later ones, in one step as in two."""
    middle = Offsets({place: offset + first for place, offset in start.items()})
    end = Offsets({place: offset + second for place, offset in middle.items()})
    assert advance(start, between(start, end)) == end
    assert advance(advance(start, between(start, middle)), between(middle, end)) == end


@given(st.integers(0, 20), st.integers(0, 20))
def test_a_hole_and_an_overlap_are_told(stands: int, starts: int) -> None:
    """A range that does not start where its partition stands is refused, with the offsets."""
    one = OffsetRange("a", 0, starts, starts + 5)
    if stands == starts:
        assert advance(Offsets({A0: stands}), [one]) == Offsets({A0: starts + 5})
    else:
        with pytest.raises(ValueError, match="leaves out" if starts > stands else "overlaps"):
            advance(Offsets({A0: stands}), [one])


def test_a_partition_without_start_is_told() -> None:
    """Neither a plan nor an entry can speak of a partition that nobody knows."""
    with pytest.raises(ValueError, match="a-1 has no start offset"):
        between({A0: 0}, {A0: 3, TopicPartition("a", 1): 3})
    with pytest.raises(ValueError, match="no known partition"):
        advance(Offsets({A0: 0}), [OffsetRange("b", 0, 0, 1)])


@given(OFFSETS)
def test_on_disk_offsets_are_what_spark_keeps(offsets: Offsets) -> None:
    """Topic → partition → offset, with the partitions as JSON's text, in their order as numbers."""
    text = documents.encode(offsets).decode()
    assert msgspec.json.decode(text, type=Offsets, dec_hook=documents.decode_other) == offsets
    assert json.loads(text) == {
        topic: {str(p): at for p, at in of_one.items()} for topic, of_one in offsets.by_topic().items()
    }
    assert list(offsets) == sorted(offsets)
    assert Offsets.nested(offsets.by_topic()) == offsets


@pytest.mark.parametrize("text", ['{"a": {"x": 1}}', '{"a": 1}', "[]", '{"a": {"0": "1"}}'])
def test_what_is_no_offsets_is_refused(text: str) -> None:
    """As everything on disk that was altered."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Offsets, dec_hook=documents.decode_other)


def test_of_two_offsets_the_later_ones_count() -> None:
    """And those of both are there."""
    b1 = TopicPartition("b", 1)
    assert Offsets({A0: 1, b1: 2}) | {A0: 3} == Offsets({A0: 3, b1: 2})
    assert Offsets({A0: 1, b1: 2}).of(["b"]) == {b1: 2}
    assert str(Offsets({A0: 1, b1: 2})) == "a-0 at 1, b-1 at 2"


@given(st.lists(st.integers(0, 50), min_size=1, unique=True))
def test_an_extent_holds_all_that_was_joined_to_it(offsets: list[int]) -> None:
    """In any order."""
    extent = None
    for offset in offsets:
        extent = Extent(offset, offset, 1).joined(extent)
    assert extent == Extent(min(offsets), max(offsets), len(offsets))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6))
def test_what_is_left_and_what_is_taken_make_the_whole(cuts: list[tuple[int, int]]) -> None:
    """Every offset of the whole is in what is left or in a cut, and never in both."""
    whole = OffsetRange("a", 0, 5, 35)
    taken = [OffsetRange("a", 0, min(cut), max(cut)) for cut in cuts]
    left = without(whole, taken)
    for offset in range(40):
        assert (offset in whole and not any(offset in each for each in taken)) == any(
            offset in each for each in left
        )


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10))))
def test_merged_ranges_hold_the_same_offsets_and_do_not_touch(ends: list[tuple[int, int]]) -> None:
    """Whatever overlaps or joins becomes one."""
    ranges = [OffsetRange("a", 0, start, start + length) for start, length in ends]
    apart = merged(ranges)
    assert {offset for each in apart for offset in range(each.from_offset, each.until_offset)} == {
        offset for each in ranges for offset in range(each.from_offset, each.until_offset)
    }
    assert all(one.until_offset < following.from_offset for one, following in itertools.pairwise(apart))
