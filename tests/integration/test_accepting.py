"""Accepting what left Kafka, on a real broker.

Spark takes the plan that it did not make, and goes on behind the lost offsets.
"""

from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from headrace import accepting
from headrace.errors import Code, RefusedError
from headrace.kafka.offsets import Offsets
from headrace.ledger.accept import Unprovable
from headrace.ledger.entry import Entry, EntryKind
from slices import Slice, broken
from spark_apps import filter_stream
from spark_apps.publisher import Publisher
from test_refusals import remove_before, settled


def listed(one: Slice) -> Unprovable:
    """What can't be proven."""
    return accepting.unprovable(one.folder, one.pipeline, one.kafka)


def accept(one: Slice) -> Entry:
    """Accept that."""
    return accepting.accept(
        one.folder, one.pipeline, one.kafka, listed(one), by="ada", reason="a test", run="accept"
    )


def important(one: Slice, partition: int, count: int) -> None:
    """Write records that are kept."""
    one.write([(b"k", b"important")] * count, partition=partition)


def kept(one: Slice) -> int:
    """How many records the ledger has kept."""
    return one.ledger[-1].totals.kept


def stop(*_: object) -> None:
    """Stand in for what is not reached."""
    raise KeyError("stopped")


def break_off(one: Slice, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that stops once Spark has noted its plan."""
    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "_publish", stop)
        with pytest.raises(KeyError):
            one.stream("stopped")


def test_lost_and_unproven_offsets_are_accepted_and_the_flow_goes_on(new_slice: Callable[..., Slice]) -> None:
    """Partitions that lost published and unread offsets, published ones only, and nothing."""
    one = new_slice()
    one.ingest("first", records=60)
    assert broken(one.verify("first")) == {}
    for partition in range(3):
        important(one, partition, 20)
    one.stream("second")
    ends = one.ledger[-1].offsets.by_topic()[one.topic]
    before = kept(one)
    for partition in range(3):
        important(one, partition, 20)
    remove_before(one, {0: ends[0] + 5, 1: ends[1] - 8})
    with pytest.raises(RefusedError, check=Code.OFFSETS_LOST.fits):
        one.stream("refused")
    assert set(broken(one.verify())) == {"I7", "I9"}
    found = listed(one)
    assert [(each.partition, each.from_offset, each.until_offset) for each in found.lost] == [
        (0, ends[0], ends[0] + 5)
    ]
    assert [(each.partition, each.from_offset, each.until_offset) for each in found.unproven] == [
        (0, ends[0] - 20, ends[0]),
        (1, ends[1] - 20, ends[1] - 8),
    ]
    accept(one)
    assert broken(one.verify("accepted")) == {}
    one.stream("third")
    assert kept(one) == before + 60 - 5
    report = one.verify("third", all_of_it=True)
    assert (broken(report), report.waiting.offsets, report.ever.lost, report.ever.unproven) == ({}, 0, 5, 32)


def test_a_plan_over_lost_offsets_is_replaced(
    new_slice: Callable[..., Slice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream had planned them, and was stopped before it published."""
    one = new_slice()
    one.ingest("first", records=60)
    assert broken(one.verify("first")) == {}
    end, before = one.ledger[-1].offsets.by_topic()[one.topic][0], kept(one)
    important(one, 0, 30)
    break_off(one, monkeypatch)
    remove_before(one, {0: end + 10})
    accept(one)
    one.stream("second")
    assert kept(one) == before + 20
    assert broken(one.verify(all_of_it=True)) == {}


@pytest.mark.parametrize("has_planned", [True, False])
def test_what_is_lost_before_the_first_micro_batch_is_accepted(
    new_slice: Callable[..., Slice], monkeypatch: pytest.MonkeyPatch, *, has_planned: bool
) -> None:
    """There is a checkpoint without a micro-batch, or none at all; Spark takes the one that is made."""
    one = new_slice()
    important(one, 0, 30)
    important(one, 1, 30)
    break_off(one, monkeypatch)
    if not has_planned:
        (one.folder.checkpoint / "metadata").unlink()  # then the next stream discards all of it
        with monkeypatch.context() as patch:
            patch.setattr(filter_stream, "run_to_end", stop)
            with pytest.raises(KeyError):
                one.stream("stopped again")
        assert not one.folder.checkpoint.exists()
    remove_before(one, {0: 12})
    assert set(broken(one.verify())) == {"I9"}
    assert accept(one).kind is EntryKind.ACCEPTED
    one.stream("second")
    assert (one.ledger[0].kind, one.ledger[0].starts, kept(one)) == (
        EntryKind.ACCEPTED,
        Offsets.nested({one.topic: {0: 0, 1: 0, 2: 0}}),
        48,
    )
    report = one.verify(all_of_it=True)
    assert (broken(report), report.ever.lost, report.waiting.offsets) == ({}, 12, 0)
    important(one, 2, 5)
    one.stream("third")
    assert kept(one) == 53
    assert broken(one.verify()) == {}


def test_a_new_partition_that_lost_its_first_records_joins(new_slice: Callable[..., Slice]) -> None:
    """Spark plans from behind the lost offsets."""
    one = new_slice()
    one.ingest("first", records=60)
    client = AdminClient({"bootstrap.servers": one.servers})
    settled(client.create_partitions([NewPartitions(one.topic, 4)]))
    important(one, 3, 10)
    remove_before(one, {3: 4})
    with pytest.raises(RefusedError, check=Code.OFFSETS_LOST.fits):
        one.stream("refused")
    before = kept(one)
    accept(one)
    one.stream("second")
    assert kept(one) == before + 6
    assert broken(one.verify(all_of_it=True)) == {}
