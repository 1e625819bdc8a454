"""What the broker said of a batch's records."""

from collections import Counter
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, Message

from headrace.kafka.connection import UNANSWERED
from headrace.kafka.offsets import Extent, TopicPartition


@dataclass
class Acknowledgements:
    """What the broker said of a batch's records.

    Per topic-partition the lowest and highest offset and the count, and refusals.

    Attributes:
        landed: Lowest and highest offset and count, by topic and partition.
        terminal: Whether another try can't help.
        waited: Seconds that a record has waited in vain for an answer; 0 if all got one.
    """

    landed: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    terminal: bool = False
    waited: float = 0.0

    @property
    def count(self) -> int:
        """Records that landed."""
        return sum(count for _, _, count in self.landed.values())

    @property
    def landings(self) -> list[tuple[TopicPartition, Extent]]:
        """Lowest and highest offset and count, by topic-partition."""
        return sorted((TopicPartition(*place), Extent(*extent)) for place, extent in self.landed.items())

    def add(self, place: tuple[str, int], offset: int) -> None:
        """One record is at this offset."""
        if extent := self.landed.get(place):
            extent[0] = min(extent[0], offset)
            extent[1] = max(extent[1], offset)
            extent[2] += 1
        else:
            self.landed[place] = [offset, offset, 1]

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """Delivery report of one record."""
        offset = message.offset()
        if error is None and offset is None:
            self.refusals[
                f"{message.topic()}-{message.partition()}: it landed, the broker did not say at which offset"
            ] += 1
        elif error is None:
            self.add((message.topic() or "", message.partition() or 0), offset)
        elif error.code() in UNANSWERED:
            self.refusals[f"{message.topic()}-{message.partition()}: no answer"] += 1
            self.waited = max(self.waited, message.latency() or 0.0)
        else:
            self.refusals[f"{message.topic()}-{message.partition()}: {error.str()}"] += 1
            self.terminal |= not error.retriable()
