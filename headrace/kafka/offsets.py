"""Topic-partitions, and the offsets in them."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from headrace.documents import Stored

Nested = dict[str, dict[int, int]]
"""Topic → partition → offset."""


class TopicPartition(NamedTuple):
    """One partition of a topic. It prints as in Kafka's own tools: `orders-0`."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class Placed:
    """What has a topic and a partition."""

    __slots__ = ()
    topic: str
    partition: int

    @property
    def place(self) -> TopicPartition:
        """Its topic-partition."""
        return TopicPartition(self.topic, self.partition)


class Offsets(Stored, Mapping[TopicPartition, int]):
    """An offset for each of some topic-partitions, in their order. It does not change.

    As JSON it is what Spark keeps in its offset log: topic → partition → offset.
    """

    __slots__ = ("_offsets",)

    def __init__(
        self, offsets: Mapping[TopicPartition, int] | Iterable[tuple[TopicPartition, int]] = ()
    ) -> None:
        given: dict[TopicPartition, int] = dict(offsets)
        self._offsets = dict(sorted(given.items()))

    @classmethod
    def nested(cls, topics: Mapping[str, Mapping[int, int]]) -> "Offsets":
        """Of topic → partition → offset."""
        return cls(
            {
                TopicPartition(topic, partition): at
                for topic, partitions in topics.items()
                for partition, at in partitions.items()
            }
        )

    def by_topic(self) -> Nested:
        """Topic → partition → offset."""
        found: Nested = {}
        for (topic, partition), offset in self._offsets.items():
            found.setdefault(topic, {})[partition] = offset
        return found

    def to_json(self) -> Nested:
        """Topic → partition → offset."""
        return self.by_topic()

    @classmethod
    def from_json(cls, value: Any) -> "Offsets":
        """Of what `to_json` gave; as JSON has it, partitions are text."""
        return cls.nested(msgspec.convert(value, Nested, str_keys=True))

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Of the nested form."""
        return msgspec.json.schema(Nested)

    @property
    def topics(self) -> set[str]:
        """Of which topics there are any."""
        return {place.topic for place in self._offsets}

    def of(self, topics: Collection[str]) -> "Offsets":
        """Those of some topics."""
        return Offsets({place: offset for place, offset in self._offsets.items() if place.topic in topics})

    def __or__(self, later: Mapping[TopicPartition, int]) -> "Offsets":
        """All of both; where both have an offset, the later one counts."""
        return Offsets({**self._offsets, **later})

    def __getitem__(self, place: TopicPartition) -> int:
        return self._offsets[place]

    def __iter__(self) -> Iterator[TopicPartition]:
        return iter(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)

    def __str__(self) -> str:
        return ", ".join(f"{place} at {offset}" for place, offset in self._offsets.items()) or "nothing"

    def __repr__(self) -> str:
        return f"Offsets({self._offsets})"


class Extent(msgspec.Struct, frozen=True):
    """Where records of one topic-partition lie.

    The lowest and the highest offset, both inclusive, and how many there are. Others may lie between.
    """

    lowest: int
    highest: int
    count: int

    def joined(self, other: "Extent | None") -> "Extent":
        """Of these records and others."""
        if other is None:
            return self
        return Extent(
            min(self.lowest, other.lowest), max(self.highest, other.highest), self.count + other.count
        )


class OffsetRange(Placed, msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """Offsets of one topic-partition; `until_offset` is exclusive."""

    topic: str
    partition: int
    from_offset: int
    until_offset: int

    def __post_init__(self) -> None:
        """Refuse a range that runs backwards."""
        if not 0 <= self.from_offset <= self.until_offset:
            raise ValueError(f"offset range runs backwards: {self}")

    def overlaps(self, other: "OffsetRange") -> bool:
        """Whether they share an offset."""
        return (
            self.place == other.place
            and self.from_offset < other.until_offset
            and other.from_offset < self.until_offset
        )

    def __len__(self) -> int:
        return self.until_offset - self.from_offset

    def __contains__(self, offset: object) -> bool:
        return isinstance(offset, int) and self.from_offset <= offset < self.until_offset

    def __str__(self) -> str:
        return f"{self.place} [{self.from_offset}, {self.until_offset})"


def between(start: Mapping[TopicPartition, int], end: Mapping[TopicPartition, int]) -> list[OffsetRange]:
    """The non-empty ranges that lead from some offsets to later ones.

    Raises `ValueError` if a partition of `end` has no start or moves backwards.
    """
    if unknown := [place for place in end if place not in start]:
        raise ValueError(f"{unknown[0]} has no start offset")
    return [OffsetRange(*place, start[place], until) for place, until in end.items() if until != start[place]]


def advance(offsets: Offsets, ranges: Iterable[OffsetRange]) -> Offsets:
    """The offsets after some ranges, each of which must start where its partition stands.

    Raises `ValueError` naming the range that leaves a hole, overlaps, or belongs to no known partition.
    """
    ahead = dict(offsets)
    for each in ranges:
        stands = ahead.get(each.place)
        if stands is None:
            raise ValueError(f"{each} belongs to no known partition")
        if stands != each.from_offset:
            kind = "leaves out" if each.from_offset > stands else "overlaps"
            low, high = sorted((stands, each.from_offset))
            raise ValueError(f"{each} {kind} offsets {low} to {high - 1} of {each.place}")
        ahead[each.place] = each.until_offset
    return Offsets(ahead)


def without(whole: OffsetRange, taken: Iterable[OffsetRange]) -> list[OffsetRange]:
    """What is left of a range when other ranges of the same partition are taken out of it."""
    left = []
    at = whole.from_offset
    for cut in sorted(taken):
        if cut.place != whole.place or cut.until_offset <= at:
            continue
        if cut.from_offset >= whole.until_offset:
            break
        if cut.from_offset > at:
            left.append(OffsetRange(*whole.place, at, cut.from_offset))
        at = cut.until_offset
    if at < whole.until_offset:
        left.append(OffsetRange(*whole.place, at, whole.until_offset))
    return left


def overlap(one: OffsetRange | None, other: OffsetRange) -> OffsetRange | None:
    """The offsets that two ranges of the same topic-partition share, or `None`."""
    if one is None:
        return None
    at, until = max(one.from_offset, other.from_offset), min(one.until_offset, other.until_offset)
    return OffsetRange(*one.place, at, until) if at < until else None


def merged(ranges: Iterable[OffsetRange]) -> list[OffsetRange]:
    """The same offsets of one topic-partition as ranges that do not overlap."""
    apart: list[OffsetRange] = []
    for each in sorted(ranges):
        if apart and each.from_offset <= apart[-1].until_offset:
            last = apart.pop()
            apart.append(
                OffsetRange(*each.place, last.from_offset, max(last.until_offset, each.until_offset))
            )
        else:
            apart.append(each)
    return apart


def gaps_between(span: OffsetRange, offsets: Sequence[int]) -> list[OffsetRange]:
    """The offsets of a span that hold no record.

    Args:
        offsets: Of all records in the span, in order.
    """
    if len(offsets) == len(span):
        return []
    found = []
    at = span.from_offset
    for offset in [*offsets, span.until_offset]:
        if offset > at:
            found.append(OffsetRange(*span.place, at, offset))
        at = offset + 1
    return found


def within(ranges: Sequence[OffsetRange], span: OffsetRange) -> Iterator[OffsetRange]:
    """What of some ranges lies in a span.

    They are in order, do not overlap, and are of the same topic-partition.
    """
    for place in range(
        bisect_right(ranges, span.from_offset, key=lambda each: each.until_offset), len(ranges)
    ):
        if (part := overlap(ranges[place], span)) is None:
            break
        yield part
