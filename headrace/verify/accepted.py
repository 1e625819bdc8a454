"""What was accepted on the record: offsets that are lost, or that can't be proven any more."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from headrace.kafka.offsets import OffsetRange, Offsets, TopicPartition, merged, overlap, without
from headrace.ledger.entries import Link, split_lost
from headrace.ledger.entry import Entry
from headrace.verify import result


class Accepted:
    """The acceptances of a ledger.

    Attributes:
        links: Entries that can be read, by number: all of kind `accepted` are among them, with the ones
            before them.
    """

    def __init__(self, links: Mapping[int, Link]) -> None:
        self._links = links
        entries = (link.entry for _, link in sorted(links.items()))
        self._all = [(entry, entry.accepted) for entry in entries if entry.accepted is not None]
        self._lost = _by_place(each for _, accepted in self._all for each in accepted.lost)
        self._any = _by_place(
            each for _, accepted in self._all for each in (*accepted.lost, *accepted.unproven)
        )

    def not_lost(self, ranges: Iterable[OffsetRange]) -> list[OffsetRange]:
        """What of some ranges was not accepted as lost."""
        return [left for each in ranges for left in without(each, self._lost[each.place])]

    def rest(self, missing: OffsetRange) -> list[OffsetRange]:
        """What of a range that is gone from Kafka was not accepted."""
        return without(missing, self._any[missing.place])

    def settling(self, ranges: Iterable[OffsetRange]) -> int | None:
        """The number of the newest acceptance of offsets within some ranges."""
        wanted = list(ranges)
        found = [
            entry.number
            for entry, accepted in self._all
            if any(each.overlaps(one) for each in (*accepted.lost, *accepted.unproven) for one in wanted)
        ]
        return max(found, default=None)

    def has_lost(self, claimed: OffsetRange) -> bool:
        """Whether some of a range was accepted as lost."""
        return any(claimed.overlaps(each) for each in self._lost[claimed.place])

    def lost_of(self, whole: OffsetRange) -> int:
        """How many offsets of a range are lost."""
        return sum(len(part) for each in self._lost[whole.place] if (part := overlap(each, whole)))

    def moved(self, entry: Entry) -> list[OffsetRange]:
        """The lost ranges behind which an acceptance moved the ledger's end."""
        before = self._links.get(entry.number - 1)
        stands = before.entry.offsets if before else Offsets()
        with suppress(ValueError):  # I5 says so
            return split_lost(entry.accepted, stands)[1]
        return []

    def account(self, new: Collection[int]) -> list[result.Accepted]:
        """What the report says of each.

        Args:
            new: Numbers of those that this run checks for the first time.
        """
        return [
            result.Accepted(
                entry=entry.number,
                at=entry.published_at,
                by=accepted.by,
                reason=accepted.reason,
                lost=sum(map(len, accepted.lost)),
                unproven=sum(map(len, accepted.unproven)),
                is_new=entry.number in new,
            )
            for entry, accepted in self._all
        ]


def _by_place(ranges: Iterable[OffsetRange]) -> dict[TopicPartition, list[OffsetRange]]:
    found: dict[TopicPartition, list[OffsetRange]] = defaultdict(list)
    for each in ranges:
        found[each.place].append(each)
    return defaultdict(list, {place: merged(of_place) for place, of_place in found.items()})
