"""The reader, on a real broker."""

from collections.abc import Callable

from scheduler import until
from slices import Slice
from test_transactions import transaction


def test_single_records_are_read_at_their_positions(new_slice: Callable[..., Slice]) -> None:
    """All at once; where a committed reader finds none, in front of others or at the end, there is none."""
    one = new_slice()
    transaction(one, "aborted", [b"aborted"]).abort_transaction(30)
    until("the marker is written", lambda: one.kafka.end([one.topic])[one.topic][0] == 2, within=30)
    one.write([(b"k", b"%d" % number) for number in range(5)], partition=0)
    one.write([(b"k", b"%d" % number) for number in range(3)], partition=1)
    found = [(block.partition, block.offsets, block.values) for block in one.kafka.read_at({one.topic: {0: 4, 1: 2, 2: 0}})]
    assert sorted(found) == [(0, [4], [b"2"]), (1, [2], [b"2"])]
    assert list(one.kafka.read_at({one.topic: {0: 0}})) == []
    assert list(one.kafka.read_at({})) == []
