"""The one place of `headrace` that talks to Kafka."""

import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Self, TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AclOperation,
    AdminClient,
    BrokerMetadata,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from headrace.contract.pipeline import Topic
from headrace.errors import AccessError, BrokerError, HeadraceError, MistakeError, TopicDiffersError
from headrace.ledger.ranges import OffsetRange, Positions
from headrace.record_batches import BatchReader, RecordBatch

T = TypeVar("T")

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds for one answer of the broker."""
LONGEST_SILENCE = 1800.0
"""Seconds for which a leader that answers may send nothing: the client passes over the records of an aborted transaction in silence."""
ANSWER_PATIENCE = 10.0
"""Seconds in which a leader that sends nothing must say where its log ends."""
LOGIN_PATIENCE = 3.0
"""Seconds for one try to get in, after which a refusal is looked for."""
UNANSWERED = {
    KafkaError._TRANSPORT,  # noqa: SLF001, that is their public name
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
    KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
}
"""Errors of the client's own: no broker has answered, whatever the reason."""
LOGIN_REFUSED = {KafkaError._AUTHENTICATION, KafkaError._SSL}  # noqa: SLF001, that is their public name
PORT_PATIENCE = 3.0
"""Seconds for a listener's port to accept."""
PASSING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
}
"""Errors that a broker answers while a topic, its leader or the broker itself is new."""
OPERATIONS = {"Read": AclOperation.READ, "Write": AclOperation.WRITE, "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS}
"""What an access list may grant for a topic and can be asked for before it is needed, by Kafka's name."""
TRANSACTION_TIMEOUT = "transaction.max.timeout.ms"
DEFAULT_TRANSACTION_TIMEOUT = 900.0
"""Seconds; Kafka's default for that setting."""
BOOTSTRAP = "bootstrap.servers"
ADVERTISED = "what the broker advertises (advertised.listeners)"
ADVICE = {
    BOOTSTRAP: "If the address is wrong, correct it in the connection kafka_default (Admin → Connections), or wherever you gave another.",
    ADVERTISED: "If it runs, this address is for clients elsewhere, such as those in its containers.",
}
"""What to do about an address at which nothing answers."""
BLOCK_RECORDS = 50_000
BLOCK_BYTES = 64 << 20
"""A block holds at most this many records, and about this many bytes."""


@dataclass(frozen=True)
class TopicFacts:
    """A topic as the broker has it."""

    id: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str]

    @property
    def is_compacted(self) -> bool:
        """Whether Kafka removes records by their keys."""
        return "compact" in self.config.get("cleanup.policy", "")


@dataclass(frozen=True)
class Block:
    """Records of one topic-partition, in offset order. Timestamps in milliseconds since 1970, UTC."""

    topic: str
    partition: int
    offsets: list[int]
    timestamps: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[list[tuple[str, bytes | None]] | None]
    """`None` where the client can't tell them: a name that is not UTF-8 stops it."""

    @classmethod
    def empty(cls, topic: str, partition: int) -> Self:
        """A block without records."""
        return cls(topic, partition, [], [], [], [], [])


class Kafka:
    """A cluster, reached with librdkafka's settings (`bootstrap.servers` and, where needed, security).

    Every method raises `BrokerError` if the cluster does not answer within `patience` seconds.
    """

    def __init__(self, config: Mapping[str, str], patience: float = PATIENCE) -> None:
        self.patience = patience
        self.config = {**config, "log_level": 0}
        self.servers = config["bootstrap.servers"]
        self._user = config.get("sasl.username")
        self._admin: AdminClient | None = None
        self._refusal: str | None = None
        self._batches = BatchReader(self.config)  # connects with its first batch
        self._silent_coordinator: BrokerError | None = None

    @property
    def admin(self) -> AdminClient:
        """The admin client, made once a bootstrap server's port accepts (librdkafka retries for ever, and says so each time)."""
        if self._admin is None:
            self._admin, _ = self._connected()
        return self._admin

    def _connected(self) -> tuple[AdminClient, list[BrokerMetadata]]:
        """A new client that is connected, and the brokers of the cluster."""
        self._reach(self.servers, BOOTSTRAP)
        try:
            admin = AdminClient({**self.config, "error_cb": self._hear})
        except KafkaException as error:
            raise MistakeError(
                f"Kafka's client does not take its settings: {error.args[0].str()}. They are in the extra of the connection kafka_default "
                "(or in the file that HEADRACE_KAFKA names)."
            ) from None
        return admin, self._brokers(admin)

    def check_listeners(self) -> int:
        """Reach every broker at the address it advertises; returns how many there are.

        A broker that answers at the bootstrap address and advertises another one (a container's name, say) fails every
        client later, with a time-out that does not say why.
        """
        # Asked once: the client may go on to an advertised address, and then there is no answer that says which one is wrong.
        if self._admin is None:
            self._admin, brokers = self._connected()
        else:
            brokers = self._brokers(self._admin)
        for broker in brokers:
            self._reach(f"{broker.host}:{broker.port}", ADVERTISED)
        return len(brokers)

    def _brokers(self, admin: AdminClient) -> list[BrokerMetadata]:
        """What the cluster says of its brokers. Raises `MistakeError` if it refuses the login: trying again does not help."""
        began = time.monotonic()
        has_said = False
        while True:
            left = began + self.patience - time.monotonic()
            try:
                return list(admin.list_topics(timeout=min(LOGIN_PATIENCE, max(left, 0.1))).brokers.values())
            except KafkaException as error:
                admin.poll(0)
                if self._refusal:
                    user = f" of user {self.config['sasl.username']!r}" if "sasl.username" in self.config else ""
                    raise MistakeError(
                        f"Kafka at {self.servers} refuses the login{user}: {self._refusal}. Check security.protocol, sasl.mechanism, sasl.username, "
                        "sasl.password and the ssl settings in the extra of the connection kafka_default (or in the file that HEADRACE_KAFKA names)."
                    ) from None
                if time.monotonic() - began >= self.patience:
                    raise self._failed(error.args[0], began) from None
                if not has_said:
                    has_said = True
                    log.warning("Kafka at %s does not answer yet; retrying for up to %.0f s.", self.servers, self.patience)

    def _hear(self, error: KafkaError) -> None:
        if error.code() in LOGIN_REFUSED:
            self._refusal = error.str()

    def describe(self, topics: Sequence[str]) -> dict[str, TopicFacts]:
        """Facts of those topics that exist."""
        found: dict[str, TopicFacts] = {}
        for name, description in self._descriptions(topics):
            replicas = min(len(partition.replicas) for partition in description.partitions)
            config = self._ask(partial(self._topic_config, name), "DescribeConfigs", name)
            found[name] = TopicFacts(str(description.topic_id), len(description.partitions), replicas, config)
        return found

    def require_rights(self, topics: Sequence[str], *operations: str) -> None:
        """Raise `AccessError` if the access lists do not let this user do something with topics that exist, before it is tried.

        operations  of `OPERATIONS`
        """
        for name, description in self._descriptions(topics):
            allowed = description.authorized_operations
            for operation in operations:
                if allowed is not None and OPERATIONS[operation] not in allowed:
                    raise self._refused(operation, name)

    def _descriptions(self, topics: Sequence[str]) -> Iterator[tuple[str, TopicDescription]]:
        began = time.monotonic()
        for name, future in self.admin.describe_topics(TopicCollection(list(topics)), include_authorized_operations=True).items():
            try:
                yield name, future.result(self.patience)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise self._failed(error.args[0], began, "Describe", name) from None
            except TimeoutError:
                raise self._silent(began) from None

    def _topic_config(self, topic: str) -> dict[str, str]:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        return {key: entry.value for key, entry in self.admin.describe_configs([resource])[resource].result(self.patience).items()}

    def create(self, topics: Sequence[Topic]) -> list[str]:
        """Create those topics that don't exist; returns their names.

        Raises `TopicDiffersError`, with both sides, if one exists and is not as wanted.
        """
        existing = self.describe([topic.name for topic in topics])
        self.require_as_wanted(topics, existing)
        wanted = [topic for topic in topics if topic.name not in existing]
        new = [NewTopic(t.name, t.partitions, t.replication_factor, config=dict(t.config)) for t in wanted]
        for topic in new:
            self._ask(partial(self._create, topic), "Create", topic.topic)
            self.end([topic.topic])  # answers once each partition has a leader
        return [topic.name for topic in wanted]

    @staticmethod
    def require_as_wanted(topics: Iterable[Topic], existing: Mapping[str, TopicFacts]) -> None:
        """Raise `TopicDiffersError`, with both sides, if a topic that exists is not as wanted."""
        differences = [line for topic in topics if topic.name in existing for line in _differences(topic, existing[topic.name])]
        if differences:
            raise TopicDiffersError("A topic differs from the pipeline file. Change one of the two:\n  " + "\n  ".join(differences))

    def _create(self, topic: NewTopic) -> None:
        self.admin.create_topics([topic])[topic.topic].result(self.patience)

    def topics(self) -> list[str]:
        """Names of all topics but Kafka's own."""
        return sorted(name for name in self._ask(lambda: self.admin.list_topics(timeout=self.patience)).topics if not name.startswith("__"))

    def extend(self, topic: str, partitions: int) -> None:
        """Raise a topic's number of partitions. Raises `MistakeError` if there is no such topic, `BrokerError` if it has as many already."""
        self._require(topic)
        self._ask(lambda: self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(self.patience), "Alter", topic)

    def delete(self, topic: str) -> None:
        """Delete a topic. Raises `MistakeError` if there is none of that name."""
        self._require(topic)
        self._ask(lambda: self.admin.delete_topics([topic])[topic].result(self.patience), "Delete", topic)

    def _require(self, topic: str) -> None:
        if topic not in self.topics():
            raise MistakeError(f"There is no topic {topic!r}. `headrace topics list` names those that there are.")

    def earliest(self, topics: Iterable[str]) -> Positions:
        """The first offset still there, per partition."""
        return self._positions(topics, OffsetSpec.earliest())

    def end(self, topics: Iterable[str], *, committed: bool = True) -> Positions:
        """The end of each partition, for committed readers (before the first open transaction) or for all."""
        return self._positions(topics, OffsetSpec.latest(), committed=committed)

    def at(self, topics: Iterable[str], milliseconds: int) -> Positions:
        """The first offset whose timestamp is not before a moment, or the end."""
        topics = list(topics)
        end = self.end(topics)
        found = self._positions(topics, OffsetSpec.for_timestamp(milliseconds))
        return {topic: {p: o if o >= 0 else end[topic][p] for p, o in partitions.items()} for topic, partitions in found.items()}

    def first_timestamps(self, positions: Positions) -> dict[tuple[str, int], int]:
        """The timestamp of the first record at or after a position, aborted and open ones included, in milliseconds since 1970 (UTC).

        A partition without such a record is absent. One consumer asks for all of them.
        """
        found: dict[tuple[str, int], int] = {}
        missing = {(topic, partition) for topic, partitions in positions.items() for partition in partitions}
        if not missing:
            return found
        consumer = Consumer(
            self._reading(committed=False)
            | {
                "auto.offset.reset": "earliest",  # retention may have removed a position meanwhile
                "fetch.message.max.bytes": 64 << 10,
                "queued.min.messages": 1,
            }
        )
        try:
            consumer.assign([TopicPartition(topic, partition, positions[topic][partition]) for topic, partition in sorted(missing)])
            silent_since = time.monotonic()
            while missing:
                for message in _of_topics(consumer.consume(1_000, timeout=0.1)):
                    place = (str(message.topic()), int(message.partition() or 0))
                    error = message.error()
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001, that is its public name
                        raise self._unreadable(error, f"{place[0]}-{place[1]} can't be read", silent_since, message.topic())
                    if place in missing:
                        silent_since = time.monotonic()
                        missing.discard(place)
                        consumer.pause([TopicPartition(*place)])
                        if error is None:
                            found[place] = message.timestamp()[1]
                if time.monotonic() - silent_since > self.patience:
                    raise self._silent(silent_since)
        finally:
            consumer.close()
        return found

    def longest_transaction(self) -> float:
        """Seconds for which a transaction may stay open (`transaction.max.timeout.ms`); Kafka's default where it may not be asked."""
        broker = ConfigResource(ResourceType.BROKER, str(self._brokers(self.admin)[0].id))
        try:
            config = self.admin.describe_configs([broker])[broker].result(self.patience)
            return int(config[TRANSACTION_TIMEOUT].value) / 1000
        except (KafkaException, KeyError, TimeoutError):
            return DEFAULT_TRANSACTION_TIMEOUT

    def read(self, offset_range: OffsetRange, *, committed: bool = True) -> Iterator[Block]:
        """The records of a range, in blocks of bounded size. Offsets that hold no record for such a reader are passed over.

        Raises `BrokerError` if the range is not there to be read to its end.
        """
        at, until = offset_range.from_offset, offset_range.until_offset
        consumer = Consumer(self._reading(committed=committed) | {"queued.max.messages.kbytes": BLOCK_BYTES >> 10})
        try:
            consumer.assign([TopicPartition(offset_range.topic, offset_range.partition, at)])
            silent_since = heard_at = time.monotonic()
            while at < until:
                records: list[Message] = []
                for message in _of_topics(consumer.consume(min(BLOCK_RECORDS, until - at), timeout=0.1)):
                    silent_since = heard_at = time.monotonic()
                    error = message.error()
                    if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001, that is its public name
                        at = message.offset() + (error is None)
                        if error is None and message.offset() < until:
                            records.append(message)
                    else:
                        raise self._unreadable(error, f"{offset_range} can't be read at offset {at}", silent_since, offset_range.topic)
                if records:
                    yield _block(offset_range.topic, offset_range.partition, records)
                    silent_since = heard_at = time.monotonic()  # the caller may have taken its time
                if time.monotonic() - heard_at > self.patience:
                    what = f"{offset_range} can't be read at offset {at}"
                    if not _answers(consumer, offset_range):
                        raise self._silent(silent_since, what)
                    if (waited := time.monotonic() - silent_since) > LONGEST_SILENCE:
                        raise BrokerError(f"{what}: Kafka at {self.servers} answers, but has sent nothing for {waited:.0f} s.")
                    heard_at = time.monotonic()
        finally:
            consumer.close()

    def record_batches(self, topic: str, partition: int, offset: int) -> Iterator[RecordBatch]:
        """Record batches from the one that holds `offset` on, or from the next one if none does, up to where the log ends now.

        With markers, aborted records and what lies behind an open transaction. It is a client of its own, without prefetching; a call for
        an offset close behind the last one costs little. Raises `UnsupportedLoginError` if that client cannot log in.
        """
        return self._batches.read(topic, partition, offset)

    def transaction_start(self, topic: str, partition: int, offset: int) -> datetime | None:
        """When the open transaction that holds an offset began, by its coordinator; `None` if no coordinator knows it.

        Raises `UnsupportedLoginError` if the client that asks them cannot log in.
        """
        if self._silent_coordinator:  # so that not each partition waits for an answer
            raise self._silent_coordinator
        try:
            began = self._batches.transaction_start(topic, partition, offset)
        except BrokerError as error:
            self._silent_coordinator = error
            raise
        return None if began is None else datetime.fromtimestamp(began / 1000, UTC)

    def _reading(self, *, committed: bool) -> dict[str, object]:
        return {
            "group.id": "headrace-reader",  # the client wants one; it is not joined, and nothing is committed under it
            **self.config,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed" if committed else "read_uncommitted",
        }

    def _reach(self, addresses: str, what: str) -> None:
        """Raise `BrokerError` if none of the addresses can be reached.

        what  they are, as in `ADVICE`
        """
        if failures := _knock(addresses):
            raise BrokerError(
                f"Kafka can't be reached at {', '.join(failures)}, which is {what}. `headrace status` shows whether the stack's own broker runs, and "
                f"where. {ADVICE[what]}"
            )

    def _positions(self, topics: Iterable[str], spec: OffsetSpec, *, committed: bool = True) -> Positions:
        partitions = [
            TopicPartition(topic, partition)
            for topic, description in self._descriptions(list(topics))
            for partition in range(len(description.partitions))
        ]
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        found: Positions = {}

        def list_offsets() -> None:
            futures = self.admin.list_offsets(dict.fromkeys(partitions, spec), isolation_level=level)
            for partition, future in futures.items():
                found.setdefault(partition.topic, {})[partition.partition] = future.result(self.patience).offset

        if partitions:
            self._ask(list_offsets)
        return found

    def _ask(self, question: Callable[[], T], operation: str = "Describe", topic: str | None = None) -> T:
        """Ask until there is an answer that will not pass.

        operation, topic  the right that the question needs
        """
        began = time.monotonic()
        while True:
            try:
                return question()
            except KafkaException as error:
                if error.args[0].code() not in PASSING or time.monotonic() - began > self.patience:
                    raise self._failed(error.args[0], began, operation, topic) from None
            except TimeoutError:
                raise self._silent(began) from None
            time.sleep(0.1)

    def _silent(self, began: float, what: str = "") -> BrokerError:
        """The error for an answer that did not come. A broker that is gone differs from a silent one by its port.

        began  since when the client has waited
        what   what could not be done
        """
        waited, what = f"{time.monotonic() - began:.0f} s", what and f"{what}: "
        if failures := _knock(self.servers):
            return BrokerError(
                f"{what}Kafka at {self.servers} is gone: it was reached {waited} ago, and now it can't be, at {', '.join(failures)}. `headrace status` shows "
                "whether the stack's own broker runs, and names its log."
            )
        return BrokerError(
            f"{what}Kafka at {self.servers} did not answer within {waited}, though its port accepts connections: the broker is frozen, overloaded "
            "or still starting, or this listener wants another security.protocol. `headrace status` asks it, and names its log."
        )

    def _failed(self, error: KafkaError, began: float, operation: str = "Describe", topic: str | None = None) -> HeadraceError:
        """What an error means to people.

        began             since when the client has waited
        operation, topic  the right that was needed
        """
        match error.code():
            case KafkaError.TOPIC_AUTHORIZATION_FAILED if topic is not None:
                return self._refused(operation, topic)
            case code if code in UNANSWERED:
                return self._silent(began)
            case code:
                return BrokerError(f"Kafka at {self.servers} answered: {error.str()}" if code > 0 else f"Kafka's client: {error.str()}")

    def _unreadable(self, error: KafkaError, what: str, began: float, topic: str | None) -> HeadraceError:
        known = self._failed(error, began, "Read", topic)
        return known if isinstance(known, AccessError) else BrokerError(f"{what}: {known}")

    def _refused(self, operation: str, topic: str) -> AccessError:
        return AccessError(self.servers, operation, topic, self._user)


def _knock(addresses: str) -> list[str]:
    """Why none of some addresses can be reached; empty if one can."""
    failures = []
    for address in addresses.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), PORT_PATIENCE).close()
        except socket.gaierror:
            failures.append(f"{address} (this machine can't resolve the name {host})")
        except ConnectionRefusedError:
            failures.append(f"{address} (connection refused: nothing listens there)")
        except TimeoutError:
            failures.append(
                f"{address} (no connection within {PORT_PATIENCE:.0f} s: what listens there is frozen, or the network drops it)"
            )
        except (OSError, ValueError) as error:
            failures.append(f"{address} ({error})")
        else:
            return []
    return failures


def _of_topics(messages: Iterable[Message]) -> Iterator[Message]:
    """Leave out what the client says of its group, which is not used: that it may not even be looked at, where access lists rule."""
    return (message for message in messages if (error := message.error()) is None or error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED)


def _answers(consumer: Consumer, offset_range: OffsetRange) -> bool:
    """Whether a partition's leader answers at all."""
    try:
        consumer.get_watermark_offsets(TopicPartition(offset_range.topic, offset_range.partition), timeout=ANSWER_PATIENCE)
    except KafkaException:
        return False
    return True


def _block(topic: str, partition: int, records: list[Message]) -> Block:
    return Block(
        topic=topic,
        partition=partition,
        offsets=[record.offset() for record in records],
        timestamps=[record.timestamp()[1] for record in records],
        keys=[record.key() for record in records],
        values=[record.value() for record in records],
        headers=[_headers(record) for record in records],
    )


def _headers(record: Message) -> list[tuple[str, bytes | None]] | None:
    try:
        return record.headers() or []
    except (UnicodeError, SystemError):
        return None


def wider(topics: Iterable[Topic], existing: Mapping[str, TopicFacts]) -> Iterator[str]:
    """A sentence for each topic that has more partitions in Kafka than in the pipeline file; the stream reads them all."""
    for topic in topics:
        if (facts := existing.get(topic.name)) and facts.partitions > topic.partitions:
            yield (
                f"topic {topic.name} has {facts.partitions} partitions in Kafka, {topic.partitions} in the pipeline file. All of them are read; "
                f"write `partitions = {facts.partitions}` into the file."
            )


def _differences(topic: Topic, facts: TopicFacts) -> Iterator[str]:
    if facts.partitions < topic.partitions:
        yield (
            f"topic {topic.name}: partitions is {topic.partitions} in the pipeline file, {facts.partitions} in Kafka; "
            f"`headrace topics extend {topic.name} --partitions {topic.partitions}` adds what is missing"
        )
    both: dict[str, tuple[object, object]] = {"replication_factor": (topic.replication_factor, facts.replication_factor)}
    both |= {key: (value, facts.config.get(key)) for key, value in topic.config.items()}
    for key, (wanted, found) in both.items():
        if str(wanted) != str(found):
            yield f"topic {topic.name}: {key} is {wanted} in the pipeline file, {found} in Kafka"
    if facts.is_compacted:
        yield f"topic {topic.name}: cleanup.policy is {facts.config['cleanup.policy']} in Kafka; compaction removes records, so they can't be accounted for"
