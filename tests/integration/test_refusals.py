"""What must not start does not start.

It says what happened and the ways out, and leaves everything as it was.
"""

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from pyspark.sql import DataFrame

from headrace.contract.pipeline import Pipeline
from headrace.errors import BusyError, Code, LedgerError, RefusedError, TopicDiffersError, UnavailableError
from headrace.reset import aside, reset
from slices import JSON, TEXT, Slice, broken
from spark_apps import filter_stream
from spark_apps.source import kafka_stream


def admin(one: Slice) -> AdminClient:
    """An admin client of the test's own."""
    return AdminClient({"bootstrap.servers": one.servers})


def settled(futures: dict[Any, Any]) -> None:
    """Wait for what an admin client was asked; the client must live until then."""
    for future in futures.values():
        future.result(30)


def remove_before(one: Slice, positions: dict[int, int]) -> None:
    """Remove a topic's records before some offsets, as retention does."""
    client = admin(one)
    settled(
        client.delete_records(
            [TopicPartition(one.topic, partition, offset) for partition, offset in positions.items()]
        )
    )


def delete(one: Slice, topic: str) -> None:
    """Delete a topic and wait until it is gone."""
    client = admin(one)
    client.delete_topics([topic])[topic].result(30)
    while topic in client.list_topics(timeout=10).topics:
        pass


def state(one: Slice) -> dict[str, bytes]:
    """Every file of the pipeline's folder but the lock, and its content."""
    return {
        str(path): path.read_bytes()
        for path in sorted(one.folder.root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def refused(one: Slice, match: str) -> None:
    """The stream is refused with this message, and nothing on disk has changed."""
    before = state(one)
    with pytest.raises((RefusedError, LedgerError), match=match):
        one.stream("refused")
    assert state(one) == before


@pytest.fixture
def one(new_slice: Callable[..., Slice]) -> Slice:
    """A pipeline with a published micro-batch."""
    made = new_slice()
    made.ingest("first", records=60)
    return made


@pytest.fixture
def two(one: Slice) -> Slice:
    """One more."""
    one.ingest("second", records=60)
    return one


def test_a_topic_deleted_and_made_anew_is_refused(one: Slice) -> None:
    """Even if it was refilled past the old offsets; after a reset the new topic is read from its start."""
    delete(one, one.topic)
    with pytest.raises(RefusedError, check=Code.TOPIC_GONE.fits):
        one.stream("gone")
    one.kafka.create(one.pipeline.topics)
    one.write([(b"k", b"important")] * 200)
    refused(one, "created again")
    reset(one.folder, aside(one.folder))
    one.stream("after")
    assert broken(one.verify()) == {}
    assert one.ledger[0].total("kept") == 200


def test_offsets_that_aged_out_are_refused_and_red(one: Slice) -> None:
    """Unpublished records that are gone are named, with offsets, by the stream and by verify."""
    assert broken(one.verify("before")) == {}
    before = one.kafka.end([one.topic]).by_topic()[one.topic]
    for partition in (0, 1):
        one.write([(b"k", b"important")] * 30, partition=partition)
    remove_before(one, {0: before[0] + 25, 1: before[1] + 10})
    places = [(0, before[0], before[0] + 25), (1, before[1], before[1] + 10)]
    refused(
        one,
        "; ".join(
            f"{one.topic}-{partition} offsets {low} to {until - 1}" for partition, low, until in places
        ),
    )
    report = one.verify()
    lost = next(each.findings for each in report.invariants if each.id == "I9")
    assert [(each.partition, each.from_offset, each.until_offset) for each in lost] == places
    assert set(broken(report)) == {"I9"}
    assert {row.partition: row.until_offset - row.from_offset for row in report.waiting.partitions} == {
        0: 5,
        1: 20,
    }


def test_a_new_partition_is_read_from_its_first_record(one: Slice) -> None:
    """Partitions that are added later join the ledger."""
    client = admin(one)
    settled(client.create_partitions([NewPartitions(one.topic, 4)]))
    one.write([(b"k", b"important")] * 10, partition=3)
    one.stream("more")
    assert one.ledger[-1].total("kept") == 10
    assert broken(one.verify()) == {}


def test_a_partition_added_while_the_stream_starts_is_read_by_the_next_try(
    one: Slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spark plans it, and the ledger does not know it yet.

    Nothing is published, and another try goes on with that very plan.
    """

    def late(*arguments: Any) -> DataFrame:
        client = admin(one)
        settled(client.create_partitions([NewPartitions(one.topic, 4)]))
        one.write([(b"k", b"important")] * 10, partition=3)
        return kafka_stream(*arguments)

    monkeypatch.setattr(filter_stream, "kafka_stream", late)
    with pytest.raises(UnavailableError, check=Code.PARTITION_ADDED.fits):
        one.stream("late")
    assert len(one.ledger) == 1
    monkeypatch.undo()
    one.stream("late")
    assert one.ledger[-1].total("kept") == 10
    assert broken(one.verify()) == {}


def with_topic(one: Slice, topic: str) -> Slice:
    """The pipeline with another topic in its file."""
    section = f'[[topics]]\nname = "{topic}"\npartitions = 1\nreplication_factor = 1\n\n[demo]'
    one.pipeline.path.write_text(one.pipeline.path.read_text().replace("[demo]", section))
    return Slice(Pipeline.load(one.pipeline.path), one.folder, one.servers)


def test_a_topic_that_joins_must_be_complete(one: Slice) -> None:
    """A topic added to the file is read from offset 0.

    One whose first records are gone is refused before the checkpoint is touched.
    """
    late, gone = f"{one.topic}-late", f"{one.topic}-gone"
    client = admin(one)
    settled(client.create_topics([NewTopic(late, 1, 1), NewTopic(gone, 1, 1)]))
    text = one.pipeline.path.read_text()
    producer = Producer({"bootstrap.servers": one.servers})
    for _ in range(10):
        producer.produce(gone, b"important")
    assert producer.flush(30) == 0
    settled(client.delete_records([TopicPartition(gone, 0, 4)]))
    refused(with_topic(one, gone), "is new to this pipeline and starts at offset 4")
    one.pipeline.path.write_text(text)
    joined = with_topic(one, late)
    joined.kafka.end([late])
    joined.ingest("both", records=40)
    assert {account.topic for account in joined.ledger[-1].accounts} == {one.topic, late}
    assert broken(joined.verify()) == {}
    one.pipeline.path.write_text(text)
    refused(one, "is not in the pipeline file any more")


def test_a_checkpoint_that_is_not_the_ledgers_is_refused(one: Slice) -> None:
    """A fresh or foreign checkpoint over old output would lose or double records."""
    away = one.folder.root / "away"
    one.folder.checkpoint.rename(away)
    refused(one, "belongs to checkpoint")
    away.rename(one.folder.checkpoint)
    metadata = one.folder.checkpoint / "metadata"
    metadata.write_text(json.dumps({"id": "11111111-2222-3333-4444-555555555555"}))
    refused(one, "belongs to checkpoint")


def test_a_missing_identity_is_refused(one: Slice) -> None:
    """Without it nobody knows what belongs together."""
    one.folder.identity.unlink()
    refused(one, r"no identity.json")


def forget_last(one: Slice, *logs: str) -> None:
    """Remove micro-batch 1 from logs of the checkpoint, with Hadoop's checksums."""
    for log in logs:
        for name in ("1", ".1.crc"):
            (one.folder.checkpoint / log / name).unlink(missing_ok=True)


def test_a_checkpoint_rolled_back_is_refused(two: Slice) -> None:
    """Without its last plan a checkpoint would plan another range under the same id."""
    forget_last(two, "offsets", "commits")
    refused(two, "Checkpoint and ledger disagree")


@pytest.mark.parametrize("log", ["commits", "offsets"])
def test_what_a_power_cut_left_empty_is_made_again(two: Slice, log: str) -> None:
    """Spark can't read a file that has a name and no content.

    Not the note that a micro-batch is done, nor a plan nothing was published by.
    """
    path = two.folder.checkpoint / log / ("1" if log == "commits" else "2")
    path.write_text("")
    two.produce("third", records=10)
    two.stream("third")
    assert broken(two.verify()) == {}
    assert len(two.ledger) == 3


def test_a_commit_that_is_missing_is_made_again(two: Slice) -> None:
    """The plan is there: the micro-batch is planned as before, found published, and passed over."""
    forget_last(two, "commits")
    two.produce("third", records=10)
    two.stream("third")
    assert broken(two.verify()) == {}
    assert len(two.ledger) == 3


def test_a_ledger_rolled_back_is_refused(two: Slice) -> None:
    """An entry that the checkpoint has committed is missing."""
    shutil.rmtree(two.folder.events / "micro_batch=1")
    refused(two, "Checkpoint and ledger disagree")


def test_changed_fields_are_refused_and_a_changed_filter_is_not(new_slice: Callable[..., Slice]) -> None:
    """The entry says by which filter it was judged; files with other columns must not lie side by side."""
    one = new_slice(JSON)
    one.ingest("first", records=60)
    path = one.pipeline.path
    text = path.read_text()
    path.write_text(text.replace("amount >= 100.0 and", "amount < 100.0 and"))
    other = Slice(Pipeline.load(path), one.folder, one.servers)
    other.ingest("second", records=60)
    assert broken(other.verify()) == {}
    assert len({entry.contract.filter for entry in other.ledger}) == 2
    path.write_text(text.replace('urgent = "boolean"', 'urgent = "string"'))
    with pytest.raises(RefusedError, check=Code.FIELDS_CHANGED.fits):
        Slice(Pipeline.load(path), one.folder, one.servers).stream("third")


def test_two_streams_at_once_are_refused(
    new_slice: Callable[..., Slice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second says who holds the lock."""
    one = new_slice()
    monkeypatch.setattr(filter_stream, "LOCK_TIMEOUT", 0.0)
    with one.folder.locked("a test"), pytest.raises(BusyError, match="in use by a test"):
        one.stream()


def test_a_topic_that_differs_shows_both_sides(new_slice: Callable[..., Slice]) -> None:
    """Partitions in the file, partitions in Kafka."""
    one = new_slice()
    path = one.pipeline.path
    path.write_text(path.read_text().replace("partitions = 3", "partitions = 5"))
    with pytest.raises(TopicDiffersError, match="partitions is 5 in the pipeline file, 3 in Kafka"):
        one.kafka.create(Pipeline.load(path).topics)


def test_verify_of_what_aged_out_before_it_was_verified_is_red(new_slice: Callable[..., Slice]) -> None:
    """Unverifiable is not green; what was verified before stays checked by chain and checksums."""
    one = new_slice(TEXT)
    one.ingest("verified", records=60)
    assert broken(one.verify("first")) == {}
    one.ingest("never", records=60)
    ends = one.kafka.end([one.topic]).by_topic()[one.topic]
    remove_before(one, ends)
    report = one.verify("second")
    states = {each.id: each.state for each in report.invariants}
    assert states["I7"] == states["I1"] == "unverifiable"
    assert all(
        finding.micro_batch == 1 for each in report.invariants if each.id == "I7" for finding in each.findings
    )
