"""The test double of a Kafka cluster behaves as a broker does."""

from cluster import FakeCluster, Marker
from headrace.kafka.gaps import unexplained
from headrace.kafka.offsets import OffsetRange, Offsets, TopicPartition
from oracle import log_of


def made(partitions: int = 1) -> FakeCluster:
    """A cluster with one topic."""
    one = FakeCluster()
    one.create("t", partitions)
    return one


def offsets(one: FakeCluster, from_offset: int, until_offset: int) -> list[int]:
    """What a committed reader gets."""
    return [
        offset
        for block in one.read(OffsetRange("t", 0, from_offset, until_offset))
        for offset in block.offsets
    ]


def removed(one: FakeCluster, *gaps: tuple[int, int]) -> list[OffsetRange]:
    """Which of the gaps the log does not explain."""
    return unexplained(
        [OffsetRange("t", 0, *gap) for gap in gaps],
        lambda offset: one.record_batches(TopicPartition("t", 0), offset),
    )


def test_transactions_hide_what_lies_behind_and_leave_markers() -> None:
    """Committed readers end before the first open one.

    Aborted records and markers are gaps that the log explains.
    """
    one = made()
    one.write("t", 0, [(b"a", b"1")])
    one.write("t", 0, [(b"a", b"2"), (b"b", b"3")], "x")
    one.write("t", 0, [(b"a", b"4")])
    assert one.end(["t"]) == Offsets.nested({"t": {0: 1}})
    assert one.end(["t"], committed=False) == Offsets.nested({"t": {0: 4}})
    one.end_transaction("x", Marker.ABORT)
    assert one.end(["t"]) == Offsets.nested({"t": {0: 5}})
    assert offsets(one, 0, 5) == [0, 3]
    assert removed(one, (1, 3), (4, 5)) == []


def test_a_transaction_whose_beginning_has_aged_out_hides_from_the_first_offset_on() -> None:
    """The last stable offset is never before the log's start."""
    one = made()
    one.write("t", 0, [(b"a", b"1"), (b"b", b"2")], "x")
    one.topics["t"].partitions[0].age_out(1)
    assert one.end(["t"]) == one.earliest(["t"]) == Offsets.nested({"t": {0: 1}})


def test_compaction_keeps_the_last_record_of_a_key_and_the_headers_of_producers() -> None:
    """What it removed is not explained; a transaction's marker stays while any of its records does."""
    one = made()
    one.write("t", 0, [(b"a", b"1"), (b"b", b"2"), (None, b"3")])
    one.write("t", 0, [(b"c", b"4")], "x")
    one.end_transaction("x", Marker.COMMIT)
    one.write("t", 0, [(b"a", b"5"), (b"c", b"6")])
    log = one.topics["t"].partitions[0]
    log.compact(7, markers=True)
    assert offsets(one, 0, 7) == [1, 5, 6]
    assert [(batch.base, batch.last, len(batch.records), batch.marker) for batch in log.log] == [
        (0, 2, 1, None),
        (4, 4, 0, Marker.EMPTIED),
        (5, 6, 2, None),
    ]
    assert removed(one, (0, 1), (2, 4)) == [OffsetRange("t", 0, 0, 1), OffsetRange("t", 0, 2, 4)]
    seen = log_of(log.log, log.first, log.last, log.open.values())
    assert sorted(seen.records) == [1, 5, 6]
    assert seen.explained == {4}
