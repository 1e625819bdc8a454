"""What explains gaps on a real broker.

Transactions of every kind, compaction, deletion, and a broker that asks who is there.
"""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka import TopicPartition as ClientPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from brokers import free_port
from guarded import Guarded
from headrace.errors import BrokerError, UnsupportedLoginError
from headrace.kafka import batch_reader
from headrace.kafka.client import Kafka
from headrace.kafka.gaps import Unexplained, explain
from headrace.kafka.offsets import OffsetRange, TopicPartition


@dataclass
class Topic:
    """A topic with one partition."""

    servers: str
    name: str

    @property
    def kafka(self) -> Kafka:
        """Where it is."""
        return Kafka({"bootstrap.servers": self.servers})

    @classmethod
    def create(cls, servers: str, name: str, **config: str) -> "Topic":
        """Create it; in a setting's name there are underscores for dots."""
        admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        new = NewTopic(name, 1, 1, config={key.replace("_", "."): value for key, value in config.items()})
        admin.create_topics([new])[name].result(30)
        topic = cls(servers, name)
        topic.kafka.end([name])  # answers once the partition has a leader
        return topic

    def begin(self, name: str, *values: bytes, **settings: str) -> Producer:
        """A producer with a transaction begun and records sent in one batch, and not ended."""
        tuning = {key.replace("_", "."): value for key, value in settings.items()}
        producer = Producer(
            {
                "bootstrap.servers": self.servers,
                "transactional.id": f"{self.name}-{name}",
                "log_level": 0,
                **tuning,
            }
        )
        producer.init_transactions(30)
        producer.begin_transaction()
        self.send(producer, *values)
        return producer

    def end(self, producer: Producer, *, abort: bool = False) -> None:
        """End a transaction.

        The coordinator answers before it writes the marker, so wait for that as well.
        """
        kafka = self.kafka
        before = kafka.end([self.name], committed=False)
        (producer.abort_transaction if abort else producer.commit_transaction)(30)
        deadline = time.monotonic() + 30
        while kafka.end([self.name], committed=False) == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def send(
        self, producer: Producer, *values: bytes, key: bytes = b"key", timestamp: int | None = None
    ) -> None:
        """Send records and wait for the answer, whatever it is."""
        for value in values:
            producer.produce(
                self.name, value, key, partition=0, **({} if timestamp is None else {"timestamp": timestamp})
            )
        producer.flush(30)

    def write(self, *values: bytes, key: bytes = b"key") -> None:
        """Send records in one batch, without a transaction."""
        self.send(Producer({"bootstrap.servers": self.servers, "log_level": 0}), *values, key=key)

    def gaps(self, from_offset: int = 0) -> list[OffsetRange]:
        """The offsets that hold no record for a committed reader, up to the last stable one."""
        kafka = self.kafka
        end = kafka.end([self.name]).by_topic()[self.name][0]
        seen = {o for block in kafka.read(OffsetRange(self.name, 0, from_offset, end)) for o in block.offsets}
        return [self.range(o, o + 1) for o in range(from_offset, end) if o not in seen]

    def explain(self, gaps: list[OffsetRange]) -> Unexplained:
        """Hold gaps against the log."""
        kafka = self.kafka
        return explain(gaps, lambda offset: kafka.record_batches(TopicPartition(self.name, 0), offset))

    def range(self, from_offset: int, until_offset: int) -> OffsetRange:
        """Offsets of it."""
        return OffsetRange(self.name, 0, from_offset, until_offset)

    def alter(self, **config: str) -> None:
        """Change its settings."""
        entries = [
            ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for key, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, self.name, incremental_configs=entries)
        admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
        admin.incremental_alter_configs([resource])[resource].result(30)

    def delete_before(self, offset: int) -> None:
        """Move the log's start."""
        admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
        partition = ClientPartition(self.name, 0, offset)
        admin.delete_records([partition])[partition].result(30)


@pytest.fixture
def topic(broker: str, request: pytest.FixtureRequest) -> Topic:
    """A new topic."""
    return Topic.create(broker, f"gaps-{abs(hash(request.node.nodeid)):x}")


EXPLAINED = Unexplained([], [])


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_committed_and_aborted_transactions_explain_their_gaps(topic: Topic, compression: str) -> None:
    """Markers and aborted records; a record that is there is not explained away."""
    topic.end(topic.begin("a", *[b"1"] * 100, compression_type=compression))
    topic.end(topic.begin("b", *[b"2"] * 50, compression_type=compression), abort=True)
    topic.write(b"3")
    gaps = topic.gaps()
    assert [gap.from_offset for gap in gaps] == [100, *range(101, 152)]
    assert topic.explain(gaps) == EXPLAINED
    everything = [topic.range(0, 153)]
    assert topic.explain(everything) == Unexplained([topic.range(0, 100), topic.range(152, 153)], [])


def test_a_transaction_whose_only_record_was_refused_leaves_a_marker_alone(topic: Topic) -> None:
    """A clock that is wrong.

    The broker takes no record from tomorrow, but its transaction ends all the same.
    """
    producer = topic.begin("refused")
    topic.send(producer, b"1", timestamp=int((time.time() + 48 * 3600) * 1000))
    topic.end(producer, abort=True)
    topic.write(b"2")
    gaps = topic.gaps()
    assert [gap.from_offset for gap in gaps] == [0]
    assert topic.explain(gaps) == EXPLAINED


def test_markers_in_a_row_are_explained(topic: Topic) -> None:
    """Three producers end at the same time."""
    for producer in [topic.begin(name, b"1") for name in "abc"]:
        topic.end(producer)
    topic.write(b"2")
    gaps = topic.gaps()
    assert [gap.from_offset for gap in gaps] == [3, 4, 5]
    assert topic.explain(gaps) == EXPLAINED


def test_an_abort_after_a_restart_has_the_producer_id_of_its_records(topic: Topic) -> None:
    """A producer crashes; the next one of the same id ends its transaction in a higher epoch."""
    crashed = topic.begin("same", b"1", b"2")
    topic.end(topic.begin("same", b"3"))
    gaps = topic.gaps()
    assert [gap.from_offset for gap in gaps] == [0, 1, 2, 4]
    assert topic.explain(gaps) == EXPLAINED
    with pytest.raises(KafkaException):
        crashed.commit_transaction(30)


def test_an_abort_marker_behind_the_last_stable_offset_is_found(topic: Topic) -> None:
    """Another transaction that is still open lies between; a committed reader would not get there."""
    first = topic.begin("first", b"1")
    other = topic.begin("other", b"2")
    topic.end(first, abort=True)
    assert topic.kafka.end([topic.name]).by_topic()[topic.name][0] == 1
    assert topic.kafka.end([topic.name], committed=False).by_topic()[topic.name][0] == 3
    gaps = topic.gaps()
    assert gaps == [topic.range(0, 1)]
    assert topic.explain(gaps) == EXPLAINED
    assert topic.explain([topic.range(0, 3)]) == Unexplained([], [topic.range(1, 2)])
    topic.end(other)
    assert topic.explain([topic.range(0, 3)]) == Unexplained([topic.range(1, 2)], [])


def test_records_that_were_deleted_are_not_explained(topic: Topic) -> None:
    """Also where the log starts in the middle of a batch that Kafka still hands out whole."""
    topic.write(*[b"1"] * 10)
    topic.write(*[b"2"] * 10)
    topic.delete_before(14)
    assert [each.base_offset for each in topic.kafka.record_batches(TopicPartition(topic.name, 0), 0)] == [10]
    assert topic.explain([topic.range(0, 14)]) == Unexplained([topic.range(0, 14)], [])
    assert topic.gaps(14) == []
    topic.delete_before(20)
    assert list(topic.kafka.record_batches(TopicPartition(topic.name, 0), 0)) == []
    assert topic.explain([topic.range(5, 14)]) == Unexplained([topic.range(5, 14)], [])


def test_a_partition_that_does_not_exist_is_a_broker_error(topic: Topic) -> None:
    """Not an empty log, which would be no less red, but for another reason."""
    with pytest.raises(BrokerError, match=f"{topic.name}-7"):
        next(topic.kafka.record_batches(TopicPartition(topic.name, 7), 0))
    with pytest.raises(BrokerError, match="no-such-topic"):
        next(topic.kafka.record_batches(TopicPartition("no-such-topic", 0), 0))


def test_a_connection_that_broke_is_made_again(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker closes what was idle for ten minutes, and restarts now and then."""
    monkeypatch.setattr(batch_reader, "FIRST_BYTES", 1)
    topic.write(b"1")
    topic.write(b"2")
    topic.write(b"3")
    kafka = topic.kafka
    connections: list[socket.socket] = []
    connect = socket.create_connection

    def noted(*args: Any, **options: Any) -> socket.socket:
        connections.append(connect(*args, **options))
        return connections[-1]

    monkeypatch.setattr(socket, "create_connection", noted)
    found = kafka.record_batches(TopicPartition(topic.name, 0), 0)
    offsets = [next(found).base_offset]
    for connection in connections:
        connection.shutdown(socket.SHUT_RDWR)
    offsets += [each.base_offset for each in found]
    assert offsets == [0, 1, 2]
    assert len(connections) == 2


def test_a_broker_that_is_down_is_a_broker_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the time-out is over, with the address and the reason."""
    monkeypatch.setattr(batch_reader, "TIMEOUT", 5.0)
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(BrokerError, match=rf"{address}.*refused"):
        next(Kafka({"bootstrap.servers": address}).record_batches(TopicPartition("t", 0), 0))


@pytest.fixture
def behind(guarded: Guarded, request: pytest.FixtureRequest) -> Topic:
    """A new topic on that broker."""
    return Topic.create(guarded.open, f"gaps-{abs(hash(request.node.nodeid)):x}")


def look(config: Mapping[str, Any], topic: Topic) -> list[OffsetRange]:
    """Write through the open listener, read with both clients through another, return the unexplained."""
    topic.end(topic.begin("a", b"1"), abort=True)
    topic.write(b"2")
    kafka = Kafka(config)
    assert [block.offsets for block in kafka.read(topic.range(0, 3))] == [[2]]
    return explain(
        [topic.range(0, 3)], lambda offset: kafka.record_batches(TopicPartition(topic.name, 0), offset)
    ).removed


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_gaps_are_explained_with_a_password(guarded: Guarded, behind: Topic, mechanism: str) -> None:
    """With the settings that the other client has."""
    assert look(guarded.login(mechanism), behind) == [behind.range(2, 3)]


def test_gaps_are_explained_over_tls_with_a_password(guarded: Guarded, behind: Topic) -> None:
    """The authority as a file, or as text in the settings."""
    config = {
        **guarded.login("SCRAM-SHA-512"),
        "bootstrap.servers": guarded.sasl_tls,
        "security.protocol": "sasl_ssl",
    }
    assert look({**config, "ssl.ca.location": str(guarded.folder / "ca.pem")}, behind) == [behind.range(2, 3)]
    kafka = Kafka({**config, "ssl.ca.pem": (guarded.folder / "ca.pem").read_text()})
    assert len(list(kafka.record_batches(TopicPartition(behind.name, 0), 0))) == 3


def test_gaps_are_explained_over_tls_with_a_certificate(guarded: Guarded, behind: Topic) -> None:
    """Of the client's own, as a file or as text in the settings."""
    authority, own = guarded.folder / "ca.pem", guarded.folder / "client.pem"
    config = {"bootstrap.servers": guarded.tls, "security.protocol": "ssl", "ssl.ca.location": str(authority)}
    with_files = {**config, "ssl.certificate.location": str(own), "ssl.key.location": str(own)}
    assert look(with_files, behind) == [behind.range(2, 3)]
    kafka = Kafka({**config, "ssl.certificate.pem": own.read_text(), "ssl.key.pem": own.read_text()})
    assert len(list(kafka.record_batches(TopicPartition(behind.name, 0), 0))) == 3
    with pytest.raises(UnsupportedLoginError, match="TLS"):
        next(Kafka(config).record_batches(TopicPartition(behind.name, 0), 0))


def test_a_refused_login_is_said_at_once(guarded: Guarded, behind: Topic) -> None:
    """It is not tried again for half a minute, and not taken for a broker that is down."""
    begun = time.monotonic()
    for mechanism in ("PLAIN", "SCRAM-SHA-256"):
        with pytest.raises(UnsupportedLoginError, match=r"(?i)authentication"):
            next(Kafka(guarded.login(mechanism, "wrong")).record_batches(TopicPartition(behind.name, 0), 0))
    untrusted = {
        **guarded.login("PLAIN"),
        "bootstrap.servers": guarded.sasl_tls,
        "security.protocol": "SASL_SSL",
    }
    with pytest.raises(UnsupportedLoginError, match="CERTIFICATE_VERIFY_FAILED"):
        next(Kafka(untrusted).record_batches(TopicPartition(behind.name, 0), 0))
    unchecked = {**untrusted, "enable.ssl.certificate.verification": "false"}
    assert list(Kafka(unchecked).record_batches(TopicPartition(behind.name, 0), 0)) == []
    assert time.monotonic() - begun < 10


def test_records_that_compaction_removed_are_not_explained(behind: Topic) -> None:
    """Not even if they were in transactions, and not if the policy is another one by now.

    Markers still are.
    """
    behind.alter(
        cleanup_policy="compact",
        segment_ms="100",
        max_compaction_lag_ms="100",
        min_cleanable_dirty_ratio="0.01",
    )
    behind.write(b"1", b"2", b"3")
    behind.end(behind.begin("committed", b"4", b"5"))
    behind.end(behind.begin("aborted", b"6"), abort=True)
    behind.write(b"7", key=b"another")
    deadline = time.monotonic() + 60
    while not {behind.range(offset, offset + 1) for offset in range(4)}.issubset(gaps := behind.gaps()):
        assert time.monotonic() < deadline, gaps
        time.sleep(0.3)
        behind.write(b"roll", key=b"roll")  # a new record begins a new segment; the last one is not cleaned
    behind.alter(cleanup_policy="delete")
    found = behind.explain(gaps)
    removed = {offset for each in found.removed for offset in range(each.from_offset, each.until_offset)}
    assert [offset in removed for offset in (0, 1, 2, 3, 4, 5, 7, 8)] == [True] * 4 + [False] * 4
    assert found.undecided == []
