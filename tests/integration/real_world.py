"""Histories on a real broker, with one warm Spark session: the operations of `histories.py`, carried out with Kafka's own clients."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from headrace.kafka import Kafka
from histories import HAZARDS, PARTITIONS
from oracle import Broker, Log, Record

REAL_HAZARDS = {name: weight for name, weight in HAZARDS.items() if name not in {"compact", "topic"}}
"""Compaction and topics that are created again are left to the double: when a cleaner passes, and when a deletion is over, is the broker's affair."""
WITHIN = 30.0
"""Seconds in which the broker does what it was asked for."""


class RealWorld:
    """Topics of its own on a broker that several share."""

    def __init__(self, servers: str, prefix: str) -> None:
        self.servers = servers
        self.kafka: Any = Kafka({"bootstrap.servers": servers})
        self.topics: Sequence[str] = [f"{prefix}{topic}" for topic in PARTITIONS]
        self.prefix = prefix
        self.admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        self.plain = Producer({"bootstrap.servers": servers, "log_level": 0})
        self.transactional: dict[str, Producer] = {}
        self.is_open: dict[str, set[tuple[str, int]]] = {}
        self.offsets: Counter[tuple[str, int]] = Counter()
        """How many offsets were taken, markers included: what the broker must come to."""
        new = [NewTopic(f"{prefix}{topic}", partitions, 1) for topic, partitions in PARTITIONS.items()]
        for future in self.admin.create_topics(new).values():
            future.result(WITHIN)
        self._wait()

    def write(self, topic: str, partition: int, records: Sequence[Record], transactional_id: str | None) -> None:
        """Send records and wait until the broker has them."""
        producer = self.plain if transactional_id is None else self._begun(transactional_id, (topic, partition))
        for key, value in records:
            _send(producer, topic, partition, key, value)
        assert producer.flush(WITHIN) == 0
        self.offsets[topic, partition] += len(records)
        self._wait()

    def end_transaction(self, transactional_id: str, *, commit: bool) -> None:
        """Commit or abort, and wait for the markers: the coordinator answers before it has written them."""
        if places := self.is_open.pop(transactional_id, None):
            producer = self.transactional[transactional_id]
            (producer.commit_transaction if commit else producer.abort_transaction)(WITHIN)
            self.offsets.update(places)
            self._wait()

    def age_out(self, topic: str, partition: int, first: int) -> None:
        """Delete the records before an offset."""
        at = TopicPartition(topic, partition, first)
        self.admin.delete_records([at])[at].result(WITHIN)

    def add_partition(self, topic: str) -> None:
        """Add one, and wait for its leader."""
        count = len(self.kafka.end([topic])[topic]) + 1
        self.admin.create_partitions([NewPartitions(topic, count)])[topic].result(WITHIN)
        deadline = time.monotonic() + WITHIN
        while len(self.kafka.end([topic])[topic]) < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def look(self) -> Broker:
        """Read all of it, as a committed reader does. Nothing is compacted: an offset before the last stable one without a record is explained."""
        ids = {name: facts.id for name, facts in self.kafka.describe(self.topics).items()}
        first, stable, last = self.kafka.earliest(ids), self.kafka.end(ids), self.kafka.end(ids, committed=False)
        records = self._read({(topic, p): offset for topic, partitions in first.items() for p, offset in partitions.items()}, stable)
        logs = {}
        for place, found in records.items():
            topic, partition = place
            there = range(first[topic][partition], stable[topic][partition])
            held = {offset: record for offset, record in found.items() if offset in there}
            logs[place] = Log(there.start, there.stop, last[topic][partition], held, frozenset(set(there) - held.keys()))
        return Broker(ids, logs)

    def close(self) -> None:
        """End what is open, so that no producer waits for its transaction when it goes."""
        for transactional_id in list(self.is_open):
            self.end_transaction(transactional_id, commit=False)
        for future in self.admin.delete_topics(list(self.topics)).values():
            future.result(WITHIN)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """`filter_stream.main` finds the Spark session of this process."""
        yield

    def compact(self, topic: str, percent: int, passes: int) -> None:
        """Left to the double."""
        raise NotImplementedError

    def keep(self, topic: str) -> None:
        """Left to the double."""
        raise NotImplementedError

    def delete(self, topic: str) -> None:
        """Left to the double."""
        raise NotImplementedError

    def create(self, topic: str) -> None:
        """Left to the double."""
        raise NotImplementedError

    def _begun(self, transactional_id: str, place: tuple[str, int]) -> Producer:
        if transactional_id not in self.transactional:
            name = f"{self.prefix}{transactional_id}"
            self.transactional[transactional_id] = Producer(
                {"bootstrap.servers": self.servers, "transactional.id": name, "transaction.timeout.ms": 600_000, "log_level": 0}
            )
            self.transactional[transactional_id].init_transactions(WITHIN)
        if transactional_id not in self.is_open:
            self.transactional[transactional_id].begin_transaction()
        self.is_open.setdefault(transactional_id, set()).add(place)
        return self.transactional[transactional_id]

    def _wait(self) -> None:
        """Until the broker holds as many offsets as were taken."""
        deadline = time.monotonic() + WITHIN
        while any(
            self.offsets[topic, partition] != offset
            for topic, partitions in self.kafka.end(self.topics, committed=False).items()
            for partition, offset in partitions.items()
        ):
            assert time.monotonic() < deadline, self.offsets
            time.sleep(0.02)

    def _read(self, first: dict[tuple[str, int], int], stable: dict[str, dict[int, int]]) -> dict[tuple[str, int], dict[int, Record]]:
        """By a consumer of its own."""
        found: dict[tuple[str, int], dict[int, Record]] = {place: {} for place in first}
        left = {place for place, offset in first.items() if offset < stable[place[0]][place[1]]}
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
        consumer.assign([TopicPartition(*place, first[place]) for place in left])
        while left:
            assert time.monotonic() < deadline, left
            for message in consumer.consume(1000, 0.05):
                place = (message.topic(), message.partition())
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
