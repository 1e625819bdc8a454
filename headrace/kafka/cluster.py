"""What is asked of a Kafka cluster, and the shapes of its answers.

`client.Kafka` is the real one; tests have one in memory.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, Self

from headrace.kafka.offsets import OffsetRange, Offsets, Placed, TopicPartition
from headrace.kafka.record_batch import RecordBatch


@dataclass(frozen=True)
class Topic:
    """A topic as it is wanted. `config` holds topic configuration by Kafka's own names."""

    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str] = field(default_factory=dict)


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
class Block(Placed):
    """Records of one topic-partition, in offset order. Timestamps in milliseconds since 1970, UTC."""

    topic: str
    partition: int
    offsets: list[int]
    timestamps: Sequence[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: Sequence[list[tuple[str, bytes | None]] | None]
    """`None` where the client can't read them: a name that is not UTF-8 stops it."""

    @classmethod
    def empty(cls, place: TopicPartition) -> Self:
        """A block without records."""
        return cls(*place, [], [], [], [], [])


class Cluster(Protocol):
    """Everything that Headrace asks of Kafka. Each method raises `BrokerError` if there is no answer in time.

    An offset is the next one to read, so `end` is one past the last record. Committed readers see a partition
    up to its first open transaction only.
    """

    servers: str

    def describe(self, topics: Sequence[str]) -> dict[str, TopicFacts]:
        """Facts of those topics that exist."""

    def require_rights(self, topics: Sequence[str], *operations: str) -> None:
        """Raise `AccessError` unless the access lists let this user do something with existing topics."""

    def earliest(self, topics: Iterable[str]) -> Offsets:
        """The first offset still there, per partition."""

    def end(self, topics: Iterable[str], *, committed: bool = True) -> Offsets:
        """The end of each partition, for committed readers (before the first open transaction) or for all."""

    def offsets_for_time(self, topics: Iterable[str], milliseconds: int) -> Offsets:
        """The first offset whose timestamp is not before a moment, or the end."""

    def first_timestamps(self, offsets: Offsets) -> dict[TopicPartition, int]:
        """The timestamp of the first record at or after an offset, in milliseconds since 1970 (UTC).

        Aborted and open ones included.
        """

    def longest_transaction(self) -> float:
        """Seconds for which a transaction may stay open."""

    def transaction_start(self, place: TopicPartition, offset: int) -> datetime | None:
        """When the open transaction that holds an offset began, by its coordinator.

        `None` if no coordinator knows it.

        Raises `UnsupportedLoginError` if the client that asks them cannot log in.
        """

    def read(self, offset_range: OffsetRange, *, committed: bool = True) -> Iterator[Block]:
        """The records of a range, in blocks of bounded size.

        Offsets that hold no record for such a reader are passed over.
        """

    def record_batches(self, place: TopicPartition, offset: int) -> Iterator[RecordBatch]:
        """Record batches from the one that holds `offset` on, or from the next one, up to the log's end."""
