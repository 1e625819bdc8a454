"""Which offset ranges Kafka can still be asked for."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headrace.kafka.offsets import OffsetRange
from headrace.ledger.guard import TopicSnapshot
from headrace.ledger.identity import Identity
from headrace.verify.findings import Findings, Invariant


@dataclass(frozen=True)
class Split:
    """An offset range, split into what can still be read and what can't, with the reason.

    Either may be absent.
    """

    readable: OffsetRange | None
    missing: OffsetRange | None = None
    why: str = ""


class Readable:
    """What can still be read from the topics that the ledger names.

    Attributes:
        unproven: What was reported as never verified, and has aged out.
    """

    def __init__(self, topics: TopicSnapshot, identity: Identity | None, findings: Findings) -> None:
        self.topics = topics
        self.known = identity.topics if identity else {}
        self.findings = findings
        self.unproven: list[OffsetRange] = []

    def part(self, offset_range: OffsetRange) -> Split:
        """Split a range.

        Offsets age out one by one, from the lowest on; everything else concerns the whole range.
        """
        if why := self._gone(offset_range):
            return Split(None, offset_range, why)
        place, at, until = offset_range.place, offset_range.from_offset, offset_range.until_offset
        earliest = self.topics.earliest[place]
        if earliest <= at:
            return Split(offset_range)
        why = f"offsets before {earliest} have aged out of Kafka"
        if earliest >= until:
            return Split(None, offset_range, why)
        return Split(OffsetRange(*place, earliest, until), OffsetRange(*place, at, earliest), why)

    def report_unproven(
        self, invariant: Invariant, ranges: Iterable[OffsetRange], why: str, **where: Any
    ) -> None:
        """What an invariant can't be checked for any more."""
        for each in ranges:
            if self._has_aged_out(each):
                self.unproven.append(each)
            self.findings.add_range(
                invariant, f"never verified and can't be any more: {why}", each, unverifiable=True, **where
            )

    def _has_aged_out(self, offset_range: OffsetRange) -> bool:
        """Whether a range is gone from a topic of the ledger by its age."""
        ids = self.topics.ids
        is_own = offset_range.topic in ids and self.known.get(offset_range.topic) == ids[offset_range.topic]
        return is_own and offset_range.until_offset <= self.topics.earliest.get(offset_range.place, 0)

    def _gone(self, offset_range: OffsetRange) -> str | None:
        """Why nothing of a range can be read, other than by its age."""
        topic, ids = offset_range.topic, self.topics.ids
        if topic not in ids:
            return f"topic {topic} is gone"
        if self.known.get(topic, ids[topic]) != ids[topic]:
            return f"topic {topic} was deleted and created again"
        end = self.topics.end.get(offset_range.place)
        if end is None:
            return f"{offset_range.place} is gone"
        return f"the partition ends at offset {end}" if end < offset_range.until_offset else None
