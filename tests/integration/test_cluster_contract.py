"""What is asked of a cluster is answered alike by a real broker and by the cluster in memory."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.errors import BrokerError
from headrace.kafka.cluster import Cluster
from headrace.kafka.gaps import explain
from headrace.kafka.offsets import OffsetRange, Offsets, TopicPartition
from histories import FakeWorld, World
from real_world import RealWorld


@pytest.fixture(params=["in memory", "real"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A cluster with a topic of two partitions, and one of one."""
    if request.param == "in memory":
        yield FakeWorld()
        return
    real = RealWorld(request.getfixturevalue("broker"), f"contract-{abs(hash(request.node.nodeid)):x}-")
    yield real
    real.close()


@pytest.fixture
def kafka(world: World) -> Cluster:
    """Its answers."""
    return world.kafka


@pytest.fixture
def places(world: World) -> list[TopicPartition]:
    """The topic-partitions."""
    first, second = world.topics
    return [TopicPartition(first, 0), TopicPartition(first, 1), TopicPartition(second, 0)]


def records(
    kafka: Cluster, place: TopicPartition, from_offset: int, until_offset: int
) -> list[tuple[int, Any, Any]]:
    """Offset, key and value of what a committed reader gets of a range."""
    blocks = list(kafka.read(OffsetRange(*place, from_offset, until_offset)))
    assert {block.place for block in blocks} <= {place}
    return [each for block in blocks for each in zip(block.offsets, block.keys, block.values, strict=True)]


def test_offsets_of_empty_topics_and_of_those_that_do_not_exist(
    kafka: Cluster, places: list[TopicPartition]
) -> None:
    """A topic that does not exist is absent from every answer."""
    topics = [*{place.topic: None for place in places}, "nowhere"]
    assert (
        kafka.earliest(topics)
        == kafka.end(topics)
        == kafka.end(topics, committed=False)
        == Offsets(dict.fromkeys(places, 0))
    )
    assert kafka.offsets_for_time(topics, 0) == Offsets(dict.fromkeys(places, 0))
    assert kafka.first_timestamps(kafka.earliest(topics)) == {}
    facts = kafka.describe(topics)
    assert {name: (each.partitions, each.is_compacted) for name, each in facts.items()} == {
        places[0].topic: (2, False),
        places[2].topic: (1, False),
    }
    assert len({each.id for each in facts.values()}) == 2


def test_records_are_read_as_they_were_written(
    world: World, kafka: Cluster, places: list[TopicPartition]
) -> None:
    """Null and empty bytes, too, and only those of the range."""
    place = places[1]
    written = [(b"a", b"1"), (None, b"2"), (b"c", None), (b"", b""), (b"\xff\0", b"\xff" * 1000)]
    world.write(*place, written, None)
    assert records(kafka, place, 0, 5) == [(offset, *record) for offset, record in enumerate(written)]
    assert records(kafka, place, 2, 4) == [(2, b"c", None), (3, b"", b"")]
    assert records(kafka, place, 3, 3) == []
    assert kafka.end([place.topic]) == Offsets({places[0]: 0, place: 5})
    with pytest.raises(BrokerError):
        records(kafka, TopicPartition(place.topic, 7), 0, 1)


def test_an_open_transaction_hides_what_follows_and_its_end_explains_the_gaps(
    world: World, kafka: Cluster, places: list[TopicPartition]
) -> None:
    """Committed readers stop before it; a marker takes an offset, and aborted records are none."""
    place = places[0]
    world.write(*place, [(b"a", b"1")], None)
    world.write(*place, [(b"b", b"2"), (b"c", b"3")], "x")
    world.write(*place, [(b"d", b"4")], None)
    assert (kafka.end([place.topic])[place], kafka.end([place.topic], committed=False)[place]) == (1, 4)
    began = kafka.transaction_start(place, 1)
    assert began is not None
    assert abs(began.timestamp() - time.time()) < 60
    assert kafka.longest_transaction() == 900
    gap = OffsetRange(*place, 1, 3)
    assert explain([gap], lambda offset: kafka.record_batches(place, offset)).undecided == [gap]
    world.end_transaction("x", commit=False)
    assert kafka.end([place.topic])[place] == kafka.end([place.topic], committed=False)[place] == 5
    assert [offset for offset, _, _ in records(kafka, place, 0, 5)] == [0, 3]
    found = explain([gap, OffsetRange(*place, 4, 5)], lambda offset: kafka.record_batches(place, offset))
    assert (found.removed, found.undecided) == ([], [])
    world.write(*place, [(b"e", b"5")], "x")
    world.end_transaction("x", commit=True)
    assert [offset for offset, _, _ in records(kafka, place, 3, 7)] == [3, 5]


def test_what_aged_out_is_gone(world: World, kafka: Cluster, places: list[TopicPartition]) -> None:
    """The first offset moves, the end does not; a range that begins before it can't be read."""
    place = places[2]
    world.write(*place, [(b"%d" % number, b"v") for number in range(6)], None)
    world.age_out(*place, 4)
    assert (kafka.earliest([place.topic]), kafka.end([place.topic])) == (
        Offsets({place: 4}),
        Offsets({place: 6}),
    )
    assert [offset for offset, _, _ in records(kafka, place, 4, 6)] == [4, 5]
    with pytest.raises(BrokerError):
        records(kafka, place, 3, 6)
    assert {batch.last_offset for batch in kafka.record_batches(place, 4)} >= {5}


def test_the_first_timestamp_is_that_of_the_first_record_at_or_after_an_offset(
    world: World, kafka: Cluster, places: list[TopicPartition]
) -> None:
    """Also if a transaction is open or aborted; and by a moment the same record is found."""
    place = places[0]
    world.write(*place, [(b"a", b"1")], None)
    time.sleep(0.01)
    world.write(*place, [(b"b", b"2")], "x")
    first, second = (kafka.first_timestamps(Offsets({place: offset}))[place] for offset in (0, 1))
    assert first < second
    assert kafka.first_timestamps(Offsets({place: 2, places[2]: 0})) == {}
    world.end_transaction("x", commit=True)
    assert kafka.offsets_for_time([place.topic], first)[place] == 0
    assert kafka.offsets_for_time([place.topic], second)[place] == 1
    assert kafka.offsets_for_time([place.topic], second + 1_000_000)[place] == kafka.end([place.topic])[place]


def test_a_new_partition_begins_at_0_and_a_topic_that_was_made_again_has_another_id(
    world: World, kafka: Cluster, places: list[TopicPartition]
) -> None:
    """By the id a topic is told from one of the same name."""
    topic = places[2].topic
    world.add_partition(topic)
    assert kafka.end([topic]) == Offsets({places[2]: 0, TopicPartition(topic, 1): 0})
    before = kafka.describe([topic])[topic].id
    world.delete(topic)
    assert kafka.describe([topic]) == {}
    world.create(topic)
    assert kafka.describe([topic])[topic].id != before
