"""Topics and the offsets at which their partitions begin and end."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as ClientPartition
from confluent_kafka.admin import (
    AclOperation,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from headrace.errors import TopicDiffersError, UsageError
from headrace.kafka.cluster import Topic, TopicFacts
from headrace.kafka.connection import Connection
from headrace.kafka.offsets import Offsets, TopicPartition

OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}
"""What an access list may grant for a topic and can be asked for before it is needed, by Kafka's name."""
TRANSACTION_TIMEOUT = "transaction.max.timeout.ms"
DEFAULT_TRANSACTION_TIMEOUT = 900.0
"""Seconds; Kafka's default for that setting."""


class Admin(Connection):
    """A cluster's topics."""

    def describe(self, topics: Sequence[str]) -> dict[str, TopicFacts]:
        """Facts of those topics that exist."""
        found: dict[str, TopicFacts] = {}
        for name, description in self._descriptions(topics):
            replicas = min(len(partition.replicas) for partition in description.partitions)
            config = self._ask(partial(self._topic_config, name), "DescribeConfigs", name)
            found[name] = TopicFacts(str(description.topic_id), len(description.partitions), replicas, config)
        return found

    def require_rights(self, topics: Sequence[str], *operations: str) -> None:
        """Raise `AccessError` unless the access lists let this user do something with existing topics.

        Args:
            operations: Of `OPERATIONS`.
        """
        for name, description in self._descriptions(topics):
            allowed = description.authorized_operations
            for operation in operations:
                if allowed is not None and OPERATIONS[operation] not in allowed:
                    raise self._refused(operation, name)

    def _descriptions(self, topics: Sequence[str]) -> Iterator[tuple[str, TopicDescription]]:
        began = time.monotonic()
        for name, future in self.admin.describe_topics(
            TopicCollection(list(topics)), include_authorized_operations=True
        ).items():
            try:
                yield name, future.result(self.timeout)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise self._failed(error.args[0], began, "Describe", name) from None
            except TimeoutError:
                raise self._silent(began) from None

    def _topic_config(self, topic: str) -> dict[str, str]:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        return {
            key: entry.value
            for key, entry in self.admin.describe_configs([resource])[resource].result(self.timeout).items()
        }

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
        differences = [
            line
            for topic in topics
            if topic.name in existing
            for line in _differences(topic, existing[topic.name])
        ]
        if differences:
            raise TopicDiffersError(
                "A topic differs from the pipeline file. Change one of the two:\n  "
                + "\n  ".join(differences)
            )

    def _create(self, topic: NewTopic) -> None:
        self.admin.create_topics([topic])[topic.topic].result(self.timeout)

    def topics(self) -> list[str]:
        """Names of all topics but Kafka's own."""
        return sorted(
            name
            for name in self._ask(lambda: self.admin.list_topics(timeout=self.timeout)).topics
            if not name.startswith("__")
        )

    def extend(self, topic: str, partitions: int) -> None:
        """Raise a topic's number of partitions.

        Raises `UsageError` if there is no such topic, `BrokerError` if it has as many already.
        """
        self.require_topic(topic)
        self._ask(
            lambda: self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(
                self.timeout
            ),
            "Alter",
            topic,
        )

    def delete(self, topic: str) -> None:
        """Delete a topic. Raises `UsageError` if there is none of that name."""
        self.require_topic(topic)
        self._ask(lambda: self.admin.delete_topics([topic])[topic].result(self.timeout), "Delete", topic)

    def require_topic(self, topic: str) -> None:
        """Raise `UsageError` if there is none of that name."""
        if topic not in self.topics():
            raise UsageError(f"There is no topic {topic!r}. `headrace topics list` lists the topics.")

    def earliest(self, topics: Iterable[str]) -> Offsets:
        """The first offset still there, per partition."""
        return self._offsets(topics, OffsetSpec.earliest())

    def end(self, topics: Iterable[str], *, committed: bool = True) -> Offsets:
        """The end of each partition, for committed readers (before the first open transaction) or for all."""
        return self._offsets(topics, OffsetSpec.latest(), committed=committed)

    def offsets_for_time(self, topics: Iterable[str], milliseconds: int) -> Offsets:
        """The first offset whose timestamp is not before a moment, or the end."""
        topics = list(topics)
        end = self.end(topics)
        found = self._offsets(topics, OffsetSpec.for_timestamp(milliseconds))
        return Offsets({place: offset if offset >= 0 else end[place] for place, offset in found.items()})

    def _offsets(self, topics: Iterable[str], spec: OffsetSpec, *, committed: bool = True) -> Offsets:
        partitions = [
            ClientPartition(topic, partition)
            for topic, description in self._descriptions(list(topics))
            for partition in range(len(description.partitions))
        ]
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        found: dict[TopicPartition, int] = {}

        def list_offsets() -> None:
            futures = self.admin.list_offsets(dict.fromkeys(partitions, spec), isolation_level=level)
            for partition, future in futures.items():
                found[TopicPartition(partition.topic, partition.partition)] = future.result(
                    self.timeout
                ).offset

        if partitions:
            self._ask(list_offsets)
        return Offsets(found)

    def longest_transaction(self) -> float:
        """Seconds for which a transaction may stay open (`transaction.max.timeout.ms`).

        Kafka's default where it may not be asked.
        """
        broker = ConfigResource(ResourceType.BROKER, str(self._brokers(self.admin)[0].id))
        try:
            config = self.admin.describe_configs([broker])[broker].result(self.timeout)
            return int(config[TRANSACTION_TIMEOUT].value) / 1000
        except (KafkaException, KeyError, TimeoutError):
            return DEFAULT_TRANSACTION_TIMEOUT


def wider(topics: Iterable[Topic], existing: Mapping[str, TopicFacts]) -> Iterator[str]:
    """A sentence for each topic that has more partitions in Kafka than in the pipeline file.

    The stream reads them all.
    """
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
    both: dict[str, tuple[object, object]] = {
        "replication_factor": (topic.replication_factor, facts.replication_factor)
    }
    both |= {key: (value, facts.config.get(key)) for key, value in topic.config.items()}
    for key, (wanted, found) in both.items():
        if str(wanted) != str(found):
            yield f"topic {topic.name}: {key} is {wanted} in the pipeline file, {found} in Kafka"
    if facts.is_compacted:
        yield f"topic {topic.name}: cleanup.policy is {facts.config['cleanup.policy']} in Kafka; compaction removes records, so they can't be accounted for"
