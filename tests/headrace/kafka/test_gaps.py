"""What explains a gap, on logs made of batches alone."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.kafka.gaps import Unexplained, explain, unexplained
from headrace.kafka.offsets import OffsetRange, merged
from headrace.kafka.record_batch import RecordBatch


def batch(first: int, last: int, producer: int = -1, *, records: int | None = None) -> RecordBatch:
    """Records, in a transaction if there is a producer."""
    count = last - first + 1 if records is None else records
    return RecordBatch(
        first,
        last,
        is_control=False,
        is_transactional=producer >= 0,
        producer_id=producer,
        records=count,
        is_abort=False,
    )


def marker(offset: int, producer: int, *, abort: bool = False, records: int = 1) -> RecordBatch:
    """The end of a transaction."""
    return RecordBatch(
        offset,
        offset,
        is_control=True,
        is_transactional=True,
        producer_id=producer,
        records=records,
        is_abort=abort,
    )


class Log:
    """A log, and how often and how much of it was read."""

    def __init__(self, *batches: RecordBatch) -> None:
        self.batches = batches
        self.calls = 0
        self.read = 0

    def __call__(self, offset: int) -> Iterator[RecordBatch]:
        """From an offset on."""
        self.calls += 1
        for each in self.batches:
            if each.last_offset >= offset:
                self.read += 1
                yield each


def gap(first: int, last: int) -> OffsetRange:
    """Offsets, both inclusive."""
    return OffsetRange("t", 0, first, last + 1)


MARKERS = [marker(3, 7), marker(4, 7, abort=True), marker(5, 7)]
CASES: dict[str, tuple[list[RecordBatch], list[OffsetRange], list[OffsetRange], list[OffsetRange]]] = {
    "nothing": ([batch(0, 9)], [], [], []),
    "a marker": ([batch(0, 2, 7), marker(3, 7)], [gap(3, 3)], [], []),
    "markers in a row": ([batch(0, 2, 7), *MARKERS], [gap(3, 5)], [], []),
    "a marker without a record": ([marker(0, 7), batch(1, 2)], [gap(0, 0)], [], []),
    "a marker that compaction emptied": ([marker(0, 7, records=0)], [gap(0, 0)], [], []),
    "aborted": ([batch(0, 2, 7), marker(3, 7, abort=True)], [gap(0, 3)], [], []),
    "aborted, in several batches": (
        [batch(0, 1, 7), batch(2, 2), batch(3, 4, 7), marker(5, 7, abort=True)],
        [gap(0, 1), gap(3, 5)],
        [],
        [],
    ),
    "the marker lies behind all gaps": (
        [batch(0, 2, 7), batch(3, 9), marker(10, 7, abort=True)],
        [gap(0, 2)],
        [],
        [],
    ),
    "another producer's marker": (
        [batch(0, 2, 7), marker(3, 8, abort=True), marker(4, 7)],
        [gap(0, 2)],
        [gap(0, 2)],
        [],
    ),
    "the next marker counts": (
        [batch(0, 2, 7), marker(3, 7), marker(4, 7, abort=True)],
        [gap(0, 2)],
        [gap(0, 2)],
        [],
    ),
    "a marker that lies before": (
        [marker(0, 7, abort=True), batch(1, 2, 7), marker(3, 7)],
        [gap(0, 3)],
        [gap(1, 2)],
        [],
    ),
    "committed": ([batch(0, 2, 7, records=2), marker(3, 7)], [gap(1, 1), gap(3, 3)], [gap(1, 1)], []),
    "an emptied marker decides nothing": (
        [batch(0, 2, 7), marker(3, 7, records=0)],
        [gap(0, 3)],
        [gap(0, 2)],
        [],
    ),
    "emptied, and its commit marker removed": (
        [batch(0, 2, 7, records=0), batch(4, 5, 7), marker(6, 7, abort=True)],
        [gap(0, 6)],
        [gap(0, 3)],
        [],
    ),
    "aborted, and partly removed": (
        [batch(0, 2, 7, records=1), marker(3, 7, abort=True)],
        [gap(0, 3)],
        [],
        [],
    ),
    "plain": ([batch(0, 9, records=7)], [gap(2, 4)], [gap(2, 4)], []),
    "no batch at the start": ([batch(5, 9)], [gap(0, 4)], [gap(0, 4)], []),
    "no batch between": ([batch(0, 2), batch(5, 9)], [gap(3, 4)], [gap(3, 4)], []),
    "no batch at the end": ([batch(0, 2)], [gap(3, 4)], [gap(3, 4)], []),
    "nothing is left": ([], [gap(3, 4), gap(7, 9)], [gap(3, 4), gap(7, 9)], []),
    "undecided": ([batch(0, 2, 7), batch(3, 9)], [gap(0, 2)], [], [gap(0, 2)]),
    "undecided and removed": ([batch(0, 2, 7), batch(5, 9)], [gap(0, 4)], [gap(3, 4)], [gap(0, 2)]),
    "a gap over many batches": (
        [batch(0, 2, 7), marker(3, 7, abort=True), batch(4, 5), marker(8, 7)],
        [gap(0, 8)],
        [gap(4, 7)],
        [],
    ),
    "removed side by side is one range": (
        [batch(0, 2), batch(3, 5)],
        [gap(4, 5), gap(1, 3)],
        [gap(1, 5)],
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_gap_is_explained_by_a_marker_or_an_abort(case: str) -> None:
    """And by nothing else."""
    batches, gaps, removed, undecided = CASES[case]
    assert explain(gaps, Log(*batches)) == Unexplained(removed, undecided)
    assert unexplained(gaps, Log(*batches)) == merged([*removed, *undecided])


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("records"), st.integers(-1, 3), st.integers(1, 4), st.floats(0, 1)),
        st.tuples(st.just("marker"), st.integers(0, 3), st.booleans(), st.integers(0, 1)),
        st.tuples(st.just("hole"), st.integers(1, 3)),
    ),
    max_size=40,
)


def log_of(operations: list[tuple[Any, ...]]) -> tuple[list[RecordBatch], int]:
    """The batches, and the log's end.

    A producer of -1 writes without transactions; part of the records may be gone.
    """
    batches: list[RecordBatch] = []
    at = 0
    for kind, *rest in operations:
        if kind == "records":
            producer, size, share = rest
            batches.append(batch(at, at + size - 1, producer, records=round(size * share)))
            at += size
        elif kind == "marker":
            producer, abort, records = rest
            batches.append(marker(at, producer, abort=abort and records > 0, records=records))
            at += 1
        else:
            at += rest[0]
    return batches, at


def oracle(batches: list[RecordBatch], offset: int) -> str:
    """The rule, for one offset, word by word."""
    covering = [each for each in batches if each.base_offset <= offset <= each.last_offset]
    if not covering:
        return "removed"
    (one,) = covering
    if one.is_control:
        return "explained"
    if not one.is_transactional or one.records == 0:
        return "removed"
    closing = [
        each
        for each in batches
        if each.is_control and each.producer_id == one.producer_id and each.base_offset > offset
    ]
    if not closing:
        return "undecided"
    return "explained" if closing[0].is_abort else "removed"


@given(OPERATIONS, st.data())
def test_any_gaps_of_any_log_are_explained_by_the_rule(
    operations: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    """In any order, in pieces or whole, compared with the rule applied to each offset by itself."""
    batches, end = log_of(operations)
    chosen = sorted(data.draw(st.sets(st.integers(0, end + 2)), label="gaps"))
    pieces = [gap(offset, offset) for offset in chosen]
    gaps = data.draw(
        st.one_of(st.just(pieces), st.just(merged(pieces)), st.permutations(pieces)), label="as ranges"
    )
    expected = {
        answer: merged(gap(o, o) for o in chosen if oracle(batches, o) == answer)
        for answer in ("removed", "undecided")
    }
    assert explain(gaps, Log(*batches)) == Unexplained(**expected)


@given(OPERATIONS)
def test_what_a_committed_reader_does_not_see_is_explained(operations: list[tuple[Any, ...]]) -> None:
    """In a log that lost nothing, whatever transactions there were, all but those that are still open."""
    whole: list[tuple[Any, ...]] = [
        ("records", *rest[:2], 1.0) if kind == "records" else ("marker", *rest[:2], 1)
        for kind, *rest in operations
        if kind != "hole"
    ]
    batches, end = log_of(whole)
    last = {each.producer_id: each.base_offset for each in batches if each.is_control}
    open_ones = [
        each
        for each in batches
        if each.is_transactional and each.base_offset > last.get(each.producer_id, -1)
    ]
    stable = min((each.base_offset for each in open_ones), default=end)
    seen = {o for o in range(stable) if oracle(batches, o) == "removed"}  # plain or committed, and there
    assert unexplained([gap(o, o) for o in range(stable) if o not in seen], Log(*batches)) == []


def transactions(count: int, size: int = 100) -> list[RecordBatch]:
    """Transactions one behind the other, each of a batch and a marker."""
    step = size + 1
    return [
        each
        for i in range(count)
        for each in (batch(i * step, i * step + size - 1, 7), marker(i * step + size, 7))
    ]


def test_batches_between_gaps_are_not_read() -> None:
    """With a marker per transaction, only the markers; where gaps touch, one call serves them all."""
    log = Log(*transactions(100))
    assert unexplained([gap(i * 101 + 100, i * 101 + 100) for i in range(100)], log) == []
    assert (log.calls, log.read) == (100, 100)
    row = Log(*(marker(offset, offset % 5) for offset in range(1_000)))
    assert unexplained([gap(0, 999)], row) == []
    assert (row.calls, row.read) == (1, 1_000)


def test_the_way_to_an_abort_marker_is_read_once() -> None:
    """However many transactions wait for theirs."""
    waiting = [batch(i, i, i) for i in range(1_000)]
    between = [
        replace(each, base_offset=each.base_offset + 1_000, last_offset=each.last_offset + 1_000)
        for each in transactions(500)
    ]
    at = between[-1].last_offset + 1
    log = Log(*waiting, *between, *(marker(at + i, i, abort=i != 7) for i in range(1_000)))
    assert unexplained([gap(0, 999)], log) == [gap(7, 7)]
    assert log.calls == 1
    assert log.read == len(log.batches)


def test_batches_before_the_gap_are_no_trouble() -> None:
    """A broker may send more than was asked for."""
    log = [batch(0, 2, 7), marker(3, 7, abort=True), batch(4, 5, 7), marker(6, 7), batch(7, 9)]
    assert unexplained([gap(3, 3), gap(4, 6), gap(8, 8)], lambda _: iter(log)) == [gap(4, 5), gap(8, 8)]


def test_nothing_is_read_without_a_gap() -> None:
    """Most topics have none."""
    log = Log(batch(0, 9))
    assert unexplained([OffsetRange("t", 0, 5, 5)], log) == []
    assert log.calls == 0
