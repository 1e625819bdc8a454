"""Histories on a real broker, with one warm Spark session.

The operations of `histories.py`, carried out with Kafka's own clients.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as ClientPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from headrace.kafka.client import Kafka
from headrace.kafka.cluster import Cluster
from headrace.kafka.offsets import Offsets, TopicPartition
from histories import PARTITIONS
from oracle import Broker, Log, Record

WITHIN = 30.0
"""Seconds in which the broker does what it was asked for."""

SEGMENT = 0.1
"""Seconds after which a record begins a new segment, while a topic is compacted; the cleaner does not touch
the last one."""
CLEANED = {
    "segment.ms": "100",
    "max.compaction.lag.ms": "100",
    "min.compaction.lag.ms": "0",
    "min.cleanable.dirty.ratio": "0.01",
}
LEFT_ALONE = {"min.compaction.lag.ms": str(86_400_000), "max.compaction.lag.ms": str(2 * 86_400_000)}
ROLL = (b"roll", b"other")
CONFIGURED = 0.3
"""Seconds after which a broker goes by a topic's new settings."""


class RealWorld:
    """Topics of its own on a broker that several share."""

    def __init__(self, servers: str, prefix: str) -> None:
        self.servers = servers
        self.kafka: Cluster = Kafka({"bootstrap.servers": servers})
        self.topics: Sequence[str] = [f"{prefix}{topic}" for topic in PARTITIONS]
        self.prefix = prefix
        self.admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        self.plain = Producer({"bootstrap.servers": servers, "log_level": 0})
        self.transactional: dict[str, Producer] = {}
        self.is_open: dict[str, set[tuple[str, int]]] = {}
        self.offsets: Counter[tuple[str, int]] = Counter()
        """How many offsets were taken, markers included: what the broker must come to."""
        self.markers: set[tuple[str, int, int]] = set()
        """Offsets of transaction markers."""
        self.cleaned: Counter[tuple[str, int]] = Counter()
        """The offset before which compaction removed what it removes."""
        self.compacted: set[str] = set()
        for topic in self.topics:
            self.create(topic)

    def write(
        self, topic: str, partition: int, records: Sequence[Record], transactional_id: str | None
    ) -> None:
        """Send records and wait until the broker has them."""
        producer = (
            self.plain if transactional_id is None else self._begun(transactional_id, (topic, partition))
        )
        for key, value in records:
            _send(producer, topic, partition, key, value)
        assert producer.flush(WITHIN) == 0
        self.offsets[topic, partition] += len(records)
        self._wait()

    def end_transaction(self, transactional_id: str, *, commit: bool) -> None:
        """Commit or abort, and wait for the markers: the coordinator answers before it has written them."""
        if (places := self.is_open.pop(transactional_id, None)) is not None:
            producer = self.transactional[transactional_id]
            (producer.commit_transaction if commit else producer.abort_transaction)(WITHIN)
            self.markers |= {(*place, self.offsets[place]) for place in places}
            self.offsets.update(places)
            self._wait()

    def age_out(self, topic: str, partition: int, first: int) -> None:
        """Delete the records before an offset."""
        at = ClientPartition(topic, partition, first)
        self.admin.delete_records([at])[at].result(WITHIN)

    def add_partition(self, topic: str) -> None:
        """Add one, and wait for its leader."""
        count = len(self.kafka.end([topic]).by_topic()[topic]) + 1
        self.admin.create_partitions([NewPartitions(topic, count)])[topic].result(WITHIN)
        self._until(lambda: len(self.kafka.end([topic]).by_topic()[topic]) == count)

    def look(self) -> Broker:
        """Read all of it, as a committed reader does.

        An offset before the last stable one without a record is explained, unless the cleaner has passed:
        that leaves markers alone (for a day) and removes the batches of aborted records.
        """
        ids = {name: facts.id for name, facts in self.kafka.describe(self.topics).items()}
        first, stable, last = (
            self.kafka.earliest(ids),
            self.kafka.end(ids),
            self.kafka.end(ids, committed=False),
        )
        records = self._read(first, stable)
        logs: dict[tuple[str, int], Log] = {}
        for place, found in records.items():
            there = range(first[place], stable[place])
            held = {offset: record for offset, record in found.items() if offset in there}
            explained = {
                offset
                for offset in set(there) - held.keys()
                if offset >= self.cleaned[place] or (*place, offset) in self.markers
            }
            logs[place] = Log(there.start, there.stop, last[place], held, frozenset(explained))
        return Broker(ids, logs, frozenset(self.compacted))

    def close(self) -> None:
        """End what is open, so that no producer waits for its transaction when it goes."""
        for transactional_id in list(self.is_open):
            self.end_transaction(transactional_id, commit=False)
        for topic in self.kafka.describe(self.topics):
            self.admin.delete_topics([topic])[topic].result(WITHIN)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """`filter_stream.main` finds the Spark session of this process."""
        yield

    def compact(self, topic: str, percent: int, passes: int) -> None:  # noqa: ARG002, how far and how often is the cleaner's affair
        """Let the cleaner pass over all that is there, and leave what comes after it alone.

        It stops at an open transaction: those are committed first. Of two records with one key the first
        goes: that is how its end is noticed.
        """
        for transactional_id, open_in in list(self.is_open.items()):
            if topic in {name for name, _ in open_in}:
                self.end_transaction(transactional_id, commit=True)
        self.compacted.add(topic)
        self._alter(topic, CLEANED | {"cleanup.policy": "compact"})
        places = [(topic, partition) for partition in self.kafka.end([topic]).by_topic()[topic]]
        for place in places:
            self.write(*place, [ROLL, ROLL], None)
            self.cleaned[place] = self.offsets[place]
        time.sleep(2 * SEGMENT)
        for place in places:
            self.write(*place, [ROLL], None)
        self._until(
            lambda: not any(self.cleaned[place] - 2 in self.look().logs[place].records for place in places)
        )
        self._alter(topic, LEFT_ALONE)

    def keep(self, topic: str) -> None:
        """Set the policy back."""
        self._alter(topic, {"cleanup.policy": "delete"})
        self.compacted.discard(topic)

    def delete(self, topic: str) -> None:
        """Delete a topic, and wait until it is gone.

        Transactions end first, and producers go, since they remember it.
        """
        for transactional_id in list(self.is_open):
            self.end_transaction(transactional_id, commit=False)
        self.transactional.clear()
        self.admin.delete_topics([topic])[topic].result(WITHIN)
        self.compacted.discard(topic)
        self.markers = {each for each in self.markers if each[0] != topic}
        for counted in (self.offsets, self.cleaned):
            for place in [each for each in counted if each[0] == topic]:
                del counted[place]
        self._until(lambda: topic not in self.kafka.describe([topic]))

    def create(self, topic: str) -> None:
        """Create a topic, and wait for its leaders."""
        partitions = PARTITIONS[topic.removeprefix(self.prefix)]
        self.admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(WITHIN)
        self.plain = Producer({"bootstrap.servers": self.servers, "log_level": 0})
        self._until(
            lambda: (
                topic in self.kafka.describe([topic])
                and len(self.kafka.end([topic]).by_topic()[topic]) == partitions
            )
        )

    def _begun(self, transactional_id: str, place: tuple[str, int]) -> Producer:
        if transactional_id not in self.transactional:
            name = f"{self.prefix}{transactional_id}"
            self.transactional[transactional_id] = Producer(
                {
                    "bootstrap.servers": self.servers,
                    "transactional.id": name,
                    "transaction.timeout.ms": 600_000,
                    "log_level": 0,
                }
            )
            self.transactional[transactional_id].init_transactions(WITHIN)
        if transactional_id not in self.is_open:
            self.transactional[transactional_id].begin_transaction()
        self.is_open.setdefault(transactional_id, set()).add(place)
        return self.transactional[transactional_id]

    def _wait(self) -> None:
        """Until the broker holds as many offsets as were taken."""
        self._until(
            lambda: all(
                self.offsets[place] == offset
                for place, offset in self.kafka.end(self.kafka.describe(self.topics), committed=False).items()
            )
        )

    def _until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WITHIN
        while not holds():
            assert time.monotonic() < deadline, self.offsets
            time.sleep(0.02)

    def _alter(self, topic: str, config: Mapping[str, str]) -> None:
        """Set settings of a topic, and wait until the broker has taken them on."""
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        self.admin.incremental_alter_configs([resource])[resource].result(WITHIN)
        time.sleep(CONFIGURED)

    def _read(self, first: Offsets, stable: Offsets) -> dict[TopicPartition, dict[int, Record]]:
        """By a consumer of its own."""
        found: dict[TopicPartition, dict[int, Record]] = {place: {} for place in first}
        left = {place for place, offset in first.items() if offset < stable[place]}
        if not left:
            return found
        consumer = Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": "oracle",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )
        deadline = time.monotonic() + WITHIN
        consumer.assign([ClientPartition(*place, first[place]) for place in left])
        while left:
            assert time.monotonic() < deadline, left
            for message in consumer.consume(1000, 0.05):
                place = TopicPartition(message.topic(), message.partition())
                error = message.error()
                if error is None:
                    found[place][message.offset()] = (message.key(), message.value())
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error  # noqa: SLF001, that is its public name
                    left.discard(place)
        consumer.close()
        return found


def _send(producer: Producer, topic: str, partition: int, key: bytes | None, value: bytes | None) -> None:
    """Send a record, also to a partition that was added since the producer last asked which there are."""
    deadline = time.monotonic() + WITHIN
    while True:
        try:
            producer.produce(topic, value, key, partition=partition)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._UNKNOWN_PARTITION or time.monotonic() > deadline:  # noqa: SLF001, that is its public name
                raise
            producer.list_topics(topic, timeout=WITHIN)
        else:
            return
