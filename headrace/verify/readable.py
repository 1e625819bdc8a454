"""Which offset ranges Kafka can still be asked for."""

from headrace.kafka import Kafka
from headrace.ledger.identity import Identity
from headrace.ledger.opening import survey
from headrace.ledger.ranges import OffsetRange


class Readable:
    """Which offset ranges can still be read from the topics that the ledger knows."""

    def __init__(self, kafka: Kafka, identity: Identity | None, topics: list[str]) -> None:
        self.cluster = survey(kafka, topics) if topics else None
        self.known = identity.topics if identity else {}

    def lost(self, offset_range: OffsetRange) -> str | None:
        """Why a range can't be read, or `None` if it can."""
        topic, partition = offset_range.topic, offset_range.partition
        if self.cluster is None or topic not in self.cluster.topics:
            return f"topic {topic} is gone"
        if self.known.get(topic, self.cluster.topics[topic]) != self.cluster.topics[topic]:
            return f"topic {topic} was deleted and made anew"
        earliest, end = self.cluster.earliest[topic].get(partition), self.cluster.end[topic].get(partition)
        if earliest is None or end is None:
            return f"{topic}-{partition} is gone"
        if earliest > offset_range.from_offset:
            return f"offsets before {earliest} have aged out of Kafka"
        if end < offset_range.until_offset:
            return f"the partition ends at offset {end}"
        return None
