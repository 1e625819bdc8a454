"""A Kafka cluster in memory.

Topics, transactions, retention and compaction, as far as opening and verify can see them.

A partition is its log: a list of record batches. Whatever is asked of it is computed from that list when it
is asked.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum

from headrace.errors import BrokerError
from headrace.kafka.cluster import Block, TopicFacts
from headrace.kafka.offsets import OffsetRange, Offsets, TopicPartition
from headrace.kafka.record_batch import RecordBatch

FIRST_TIMESTAMP = 1_767_225_600_000
"""Of the first record, in milliseconds since 1970; each later one is a millisecond younger."""
BLOCK = 3
"""Records in a block, few, so that gaps lie within blocks and between them."""
NO_PRODUCER = -1

Record = tuple[bytes | None, bytes | None]


class Marker(Enum):
    """The end of a transaction; one that compaction emptied no longer says which."""

    COMMIT = "commit"
    ABORT = "abort"
    EMPTIED = "emptied"


@dataclass
class Batch:
    """A record batch: the offsets that it took, and the records that are left in it.

    Attributes:
        producer: Id of its transactional producer; -1 for plain records.
        marker: In place of records.
    """

    base: int
    last: int
    records: dict[int, Record]
    timestamp: int
    producer: int = NO_PRODUCER
    marker: Marker | None = None

    @property
    def header(self) -> RecordBatch:
        """What the broker sends of it."""
        return RecordBatch(
            base_offset=self.base,
            last_offset=self.last,
            is_control=self.marker is not None,
            is_transactional=self.producer != NO_PRODUCER,
            producer_id=self.producer,
            records=1 if self.marker in {Marker.COMMIT, Marker.ABORT} else len(self.records),
            is_abort=self.marker is Marker.ABORT,
        )


@dataclass
class Partition:
    """One partition: its log from the first offset that retention has left."""

    first: int = 0
    last: int = 0
    """The next offset."""
    log: list[Batch] = field(default_factory=list)
    open: dict[int, int] = field(default_factory=dict)
    """Producer id → first offset of its open transaction."""

    @property
    def stable(self) -> int:
        """Where committed readers end: before the first open transaction.

        Retention may have removed its beginning.
        """
        return max(self.first, min(self.open.values(), default=self.last))

    def append(self, records: Sequence[Record], timestamp: int, producer: int = NO_PRODUCER) -> None:
        """Append one batch of records, plain or within the producer's open transaction."""
        batch = Batch(
            self.last, self.last + len(records) - 1, dict(enumerate(records, self.last)), timestamp, producer
        )
        if producer != NO_PRODUCER:
            self.open.setdefault(producer, self.last)
        self.log.append(batch)
        self.last += len(records)

    def end_transaction(self, producer: int, marker: Marker, timestamp: int) -> None:
        """Write the marker, which takes an offset."""
        if self.open.pop(producer, None) is not None:
            self.log.append(Batch(self.last, self.last, {}, timestamp, producer, marker))
            self.last += 1

    def outcome(self, index: int) -> Marker | None:
        """How the transaction of a batch ended: by the next marker of its producer; `None` if it is open."""
        producer = self.log[index].producer
        return next(
            (each.marker for each in self.log[index:] if each.producer == producer and each.marker), None
        )

    def committed(self) -> Iterator[tuple[int, Record, int]]:
        """Offset, record and timestamp of all that a committed reader gets."""
        for index, batch in enumerate(self.log):
            if batch.producer == NO_PRODUCER or self.outcome(index) is Marker.COMMIT:
                for offset, record in batch.records.items():
                    if self.first <= offset < self.stable:
                        yield offset, record, batch.timestamp + offset - batch.base

    def age_out(self, first: int) -> None:
        """Move the log's first offset.

        A batch goes once none of its offsets is left; until then it is there as a whole.
        """
        self.first = max(self.first, min(first, self.last))
        self.log = [batch for batch in self.log if batch.last >= self.first]

    def compact(self, until: int, *, markers: bool) -> None:
        """What the log cleaner leaves of the batches that end before `until` and are stable.

        Of each key the last record stays; records without a key and aborted ones go. An emptied batch goes,
        but for its producer's last one, whose header stays. `markers` go as well, where none of their
        transaction's records is left (`delete.retention.ms` is over).
        """
        until = min(until, self.stable)
        cleaned = [
            index for index, batch in enumerate(self.log) if batch.last < until and batch.base >= self.first
        ]
        is_kept = {
            index: self.log[index].producer == NO_PRODUCER or self.outcome(index) is Marker.COMMIT
            for index in cleaned
        }
        newest = {
            key: offset
            for index in cleaned
            if is_kept[index]
            for offset, (key, _) in self.log[index].records.items()
            if key is not None
        }
        for index in cleaned:
            records = self.log[index].records.items()
            self.log[index].records = {
                o: each for o, each in records if is_kept[index] and newest.get(each[0] or b"") == o
            }
        lasts = {
            batch.producer: index for index, batch in enumerate(self.log) if batch.producer != NO_PRODUCER
        }
        gone = {
            index
            for index in cleaned
            if not self.log[index].records
            and (self.log[index].marker is None or (markers and not self._has_records(index)))
        }
        for index in gone:
            self.log[index].marker = Marker.EMPTIED if self.log[index].marker else None
        self.log = [
            batch
            for index, batch in enumerate(self.log)
            if index not in gone or lasts.get(batch.producer) == index
        ]

    def _has_records(self, marker: int) -> bool:
        """Whether any record is left of the transaction that a marker ended."""
        for batch in reversed(self.log[:marker]):
            if batch.producer == self.log[marker].producer:
                if batch.marker:
                    return False
                if batch.records:
                    return True
        return False


@dataclass
class Topic:
    """One topic."""

    id: str
    partitions: list[Partition]
    policy: str = "delete"


class FakeCluster:
    """What opening and verify use of the Kafka client, and what producers, brokers and administrators do."""

    servers = "nowhere:9092"

    def __init__(self) -> None:
        self.topics: dict[str, Topic] = {}
        self._created = 0
        self._clock = FIRST_TIMESTAMP
        self._ids: dict[str, int] = {}

    def create(self, topic: str, partitions: int) -> None:
        """Create a topic; one of the same name gets another id."""
        self._created += 1
        self.topics[topic] = Topic(f"id-{self._created}", [Partition() for _ in range(partitions)])

    def delete(self, topic: str) -> None:
        """Delete a topic with all that is in it."""
        del self.topics[topic]

    def add_partition(self, topic: str) -> None:
        """Add a partition, which is empty."""
        self.topics[topic].partitions.append(Partition())

    def write(
        self, topic: str, partition: int, records: Sequence[Record], transactional_id: str | None = None
    ) -> None:
        """Append a batch; with a transactional id in its transaction, which begins if it is not open."""
        producer = (
            NO_PRODUCER
            if transactional_id is None
            else self._ids.setdefault(transactional_id, 1000 + len(self._ids))
        )
        self.topics[topic].partitions[partition].append(records, self._clock, producer)
        self._clock += len(records)

    def end_transaction(self, transactional_id: str, marker: Marker) -> None:
        """Commit or abort in all partitions."""
        for topic in self.topics.values():
            for partition in topic.partitions:
                partition.end_transaction(self._ids.get(transactional_id, NO_PRODUCER), marker, self._clock)

    # What follows is the part of `headrace.kafka.client.Kafka`.

    def describe(self, topics: Iterable[str]) -> dict[str, TopicFacts]:
        """Facts of those topics that exist."""
        there = {name: self.topics[name] for name in topics if name in self.topics}
        return {
            name: TopicFacts(each.id, len(each.partitions), 1, {"cleanup.policy": each.policy})
            for name, each in there.items()
        }

    def require_rights(self, topics: Iterable[str], *operations: str) -> None:
        """No access lists rule here."""

    def earliest(self, topics: Iterable[str]) -> Offsets:
        """The first offset of each partition."""
        return Offsets({place: each.first for place, each in self._partitions(topics)})

    def end(self, topics: Iterable[str], *, committed: bool = True) -> Offsets:
        """The end of each partition, for committed readers or for all."""
        return Offsets(
            {place: each.stable if committed else each.last for place, each in self._partitions(topics)}
        )

    def offsets_for_time(self, topics: Iterable[str], milliseconds: int) -> Offsets:
        """The first offset whose timestamp is not before a moment, or the end."""
        topics = list(topics)
        later = {
            place: [offset for offset, timestamp in self._timestamps(place) if timestamp >= milliseconds]
            for place, _ in self._partitions(topics)
        }
        return Offsets({place: min(later[place], default=end) for place, end in self.end(topics).items()})

    def first_timestamps(self, offsets: Offsets) -> dict[TopicPartition, int]:
        """The timestamp of the first record at or after an offset, aborted and open ones included."""
        found = {}
        for place, first in offsets.items():
            if later := [
                (offset, timestamp) for offset, timestamp in self._timestamps(place) if offset >= first
            ]:
                found[place] = min(later)[1]
        return found

    def longest_transaction(self) -> float:
        """Kafka's default."""
        return 900.0

    def transaction_start(self, place: TopicPartition, offset: int) -> datetime | None:
        """A coordinator knows each transaction that is open."""
        assert self._partition(place).open, offset
        return datetime.now(UTC)

    def read(self, offset_range: OffsetRange, *, committed: bool = True) -> Iterator[Block]:
        """The committed records of a range, in small blocks.

        Raises `BrokerError` if the range is not there to be read to its end.
        """
        assert committed, "nothing here reads what is not committed"
        partition = self._partition(offset_range.place)
        if not len(offset_range):
            return
        if offset_range.from_offset < partition.first or offset_range.until_offset > partition.stable:
            raise BrokerError(
                f"{offset_range} can't be read: there is [{partition.first}, {partition.stable})"
            )
        found = [each for each in partition.committed() if each[0] in offset_range]
        for at in range(0, len(found), BLOCK):
            some = found[at : at + BLOCK]
            yield Block(
                *offset_range.place,
                offsets=[offset for offset, _, _ in some],
                timestamps=[timestamp for _, _, timestamp in some],
                keys=[key for _, (key, _), _ in some],
                values=[value for _, (_, value), _ in some],
                headers=[[] for _ in some],
            )

    def record_batches(self, place: TopicPartition, offset: int) -> Iterator[RecordBatch]:
        """Record batches from the one that holds an offset on, or from the next one."""
        there = self._partition(place)
        return iter([batch.header for batch in there.log if batch.last >= max(offset, there.first)])

    def _partitions(self, topics: Iterable[str]) -> Iterator[tuple[TopicPartition, Partition]]:
        """Those of the topics that exist."""
        for name in topics:
            for number, each in enumerate(self.topics[name].partitions if name in self.topics else ()):
                yield TopicPartition(name, number), each

    def _partition(self, place: TopicPartition) -> Partition:
        if place.topic not in self.topics or place.partition >= len(self.topics[place.topic].partitions):
            raise BrokerError(f"there is no {place}")
        return self.topics[place.topic].partitions[place.partition]

    def _timestamps(self, place: TopicPartition) -> Iterator[tuple[int, int]]:
        """Offset and timestamp of each record, whatever became of it."""
        there = self._partition(place)
        for batch in there.log:
            for offset in batch.records:
                if offset >= there.first:
                    yield offset, batch.timestamp + offset - batch.base
