"""Which offset ranges Kafka can still be asked for."""

from dataclasses import dataclass

from headrace.kafka.offsets import OffsetRange
from headrace.ledger.guard import Cluster
from headrace.ledger.identity import Identity


@dataclass(frozen=True)
class Part:
    """An offset range, split into what can still be read and what can't, with the reason; either may be absent."""

    readable: OffsetRange | None
    missing: OffsetRange | None = None
    why: str = ""


class Readable:
    """What can still be read from the topics that the ledger names."""

    def __init__(self, cluster: Cluster, identity: Identity | None) -> None:
        self.cluster = cluster
        self.known = identity.topics if identity else {}

    def part(self, offset_range: OffsetRange) -> Part:
        """Split a range. Offsets age out one by one, from the lowest on; everything else concerns the whole range."""
        if why := self._gone(offset_range):
            return Part(None, offset_range, why)
        topic, partition, at, until = offset_range.topic, offset_range.partition, offset_range.from_offset, offset_range.until_offset
        earliest = self.cluster.earliest[topic][partition]
        if earliest <= at:
            return Part(offset_range)
        why = f"offsets before {earliest} have aged out of Kafka"
        if earliest >= until:
            return Part(None, offset_range, why)
        return Part(OffsetRange(topic, partition, earliest, until), OffsetRange(topic, partition, at, earliest), why)

    def has_aged_out(self, offset_range: OffsetRange) -> bool:
        """Whether a range is gone from a topic of the ledger by its age."""
        topics = self.cluster.topics
        is_own = offset_range.topic in topics and self.known.get(offset_range.topic) == topics[offset_range.topic]
        return is_own and offset_range.until_offset <= self.cluster.earliest[offset_range.topic].get(offset_range.partition, 0)

    def _gone(self, offset_range: OffsetRange) -> str | None:
        """Why nothing of a range can be read, other than by its age."""
        topic, partition = offset_range.topic, offset_range.partition
        if topic not in self.cluster.topics:
            return f"topic {topic} is gone"
        if self.known.get(topic, self.cluster.topics[topic]) != self.cluster.topics[topic]:
            return f"topic {topic} was deleted and created again"
        end = self.cluster.end[topic].get(partition)
        if end is None:
            return f"{topic}-{partition} is gone"
        return f"the partition ends at offset {end}" if end < offset_range.until_offset else None
