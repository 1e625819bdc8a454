"""Offset ranges and positions of topic-partitions."""

from collections.abc import Iterable, Iterator

import msgspec

Positions = dict[str, dict[int, int]]
"""Topic → partition → the next offset to read. As JSON it is what Spark keeps in its offset log."""


class OffsetRange(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
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
        same = (self.topic, self.partition) == (other.topic, other.partition)
        return same and self.from_offset < other.until_offset and other.from_offset < self.until_offset

    def __len__(self) -> int:
        return self.until_offset - self.from_offset

    def __contains__(self, offset: object) -> bool:
        return isinstance(offset, int) and self.from_offset <= offset < self.until_offset

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition} [{self.from_offset}, {self.until_offset})"


def flat(positions: Positions) -> Iterator[tuple[str, int, int]]:
    """Each (topic, partition, offset), in order."""
    for topic, partitions in sorted(positions.items()):
        for partition, offset in sorted(partitions.items()):
            yield topic, partition, offset


def between(start: Positions, end: Positions) -> list[OffsetRange]:
    """The non-empty ranges that lead from one set of positions to a later one.

    Raises `ValueError` if a partition of `end` has no start or moves backwards.
    """
    ranges = []
    for topic, partition, until_offset in flat(end):
        from_offset = start.get(topic, {}).get(partition)
        if from_offset is None:
            raise ValueError(f"{topic}-{partition} has no start offset")
        offset_range = OffsetRange(topic, partition, from_offset, until_offset)
        if len(offset_range):
            ranges.append(offset_range)
    return ranges


def new_partitions(known: Positions, ends: Positions, start: Positions) -> Positions:
    """Where the partitions start that a micro-batch is the first to account for."""
    new = {
        topic: {partition: start[topic][partition] for partition in partitions if partition not in known.get(topic, {})}
        for topic, partitions in ends.items()
    }
    return {topic: partitions for topic, partitions in new.items() if partitions}


def advance(positions: Positions, ranges: Iterable[OffsetRange]) -> Positions:
    """Positions after the ranges, each of which must start where its partition stands.

    Raises `ValueError` naming the range that leaves a hole, overlaps, or belongs to no known partition.
    """
    ahead = {topic: dict(partitions) for topic, partitions in positions.items()}
    for offset_range in ranges:
        stands = ahead.get(offset_range.topic, {}).get(offset_range.partition)
        if stands is None:
            raise ValueError(f"{offset_range} belongs to no known partition")
        if stands != offset_range.from_offset:
            kind = "leaves out" if offset_range.from_offset > stands else "overlaps"
            low, high = sorted((stands, offset_range.from_offset))
            raise ValueError(f"{offset_range} {kind} offsets {low} to {high - 1} of {offset_range.topic}-{offset_range.partition}")
        ahead[offset_range.topic][offset_range.partition] = offset_range.until_offset
    return ahead


def without(whole: OffsetRange, taken: Iterable[OffsetRange]) -> list[OffsetRange]:
    """What is left of a range when other ranges of the same partition are taken out of it."""
    left = []
    at = whole.from_offset
    for cut in sorted(taken):
        if (cut.topic, cut.partition) != (whole.topic, whole.partition) or cut.until_offset <= at:
            continue
        if cut.from_offset >= whole.until_offset:
            break
        if cut.from_offset > at:
            left.append(OffsetRange(whole.topic, whole.partition, at, cut.from_offset))
        at = cut.until_offset
    if at < whole.until_offset:
        left.append(OffsetRange(whole.topic, whole.partition, at, whole.until_offset))
    return left


def overlap(one: OffsetRange | None, other: OffsetRange) -> OffsetRange | None:
    """The offsets that two ranges of the same topic-partition share, or `None`."""
    if one is None:
        return None
    at, until = max(one.from_offset, other.from_offset), min(one.until_offset, other.until_offset)
    return OffsetRange(one.topic, one.partition, at, until) if at < until else None


def merged(ranges: Iterable[OffsetRange]) -> list[OffsetRange]:
    """The same offsets of one topic-partition as ranges that do not overlap."""
    apart: list[OffsetRange] = []
    for each in sorted(ranges):
        if apart and each.from_offset <= apart[-1].until_offset:
            last = apart.pop()
            apart.append(OffsetRange(each.topic, each.partition, last.from_offset, max(last.until_offset, each.until_offset)))
        else:
            apart.append(each)
    return apart
