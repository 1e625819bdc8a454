"""Why offsets hold no record for a committed reader.

Transaction markers and aborted records, or else removal by Kafka.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from headrace.kafka.offsets import OffsetRange, merged
from headrace.kafka.record_batch import RecordBatch


@dataclass(frozen=True)
class Unexplained:
    """Offsets, as ranges, that neither a marker nor an aborted transaction explains.

    Attributes:
        removed: Kafka had records there and does not any more: compaction, deletion or damage.
        undecided: Records of transactions whose marker is not in the log yet; a committed reader stops before
            them.
    """

    removed: list[OffsetRange]
    undecided: list[OffsetRange]


def unexplained(
    gaps: Sequence[OffsetRange], batches: Callable[[int], Iterator[RecordBatch]]
) -> list[OffsetRange]:
    """Of the gaps of one topic-partition, what no rule explains, as ranges that do not overlap.

    The arguments are those of `explain`, which says in addition what is undecided only.
    """
    found = explain(gaps, batches)
    return merged([*found.removed, *found.undecided])


def explain(gaps: Sequence[OffsetRange], batches: Callable[[int], Iterator[RecordBatch]]) -> Unexplained:
    """Hold each gap of one topic-partition against the record batches in Kafka.

    An offset is explained if a control batch covers it, or if a transactional batch covers it and the next
    control batch of the same producer id is an abort. The id, not the epoch: an abort after a restart has a
    higher one. It may lie beyond all gaps, and beyond the last stable offset. Counting cannot replace this: a
    transaction whose only record was refused leaves a marker without a record.

    A batch that compaction emptied explains nothing: Kafka may have removed its commit marker as well, and
    the next one is another transaction's. While a batch has records, its marker stays.

    Reads forward once. Batches between two gaps are skipped unless a marker is looked for; then they must be
    read, because it may be anywhere. Needs memory for the gaps alone.

    Args:
        gaps: offsets without a committed record, in any order, all of one topic-partition.
        batches: record batches from the one that holds an offset on, or from the next one if none does, to
            the log's end.
    """
    search = _Search(deque(merged(gap for gap in gaps if len(gap))))
    while search.left:
        search.position = search.left[0].from_offset
        if not _follow(search, batches(search.position)):
            break
    return Unexplained(
        merged([*search.removed, *search.left]),
        merged(gap for gaps in search.waiting.values() for gap in gaps),
    )


@dataclass
class _Search:
    """What is known at one position of the log.

    Attributes:
        left: Gaps at and after the position.
        position: Where reading goes on.
        waiting: Producer id → gaps in its transaction, whose marker is not reached.
        removed: Gaps that are known to be unexplained.
    """

    left: deque[OffsetRange]
    position: int = 0
    waiting: dict[int, list[OffsetRange]] = field(default_factory=dict)
    removed: list[OffsetRange] = field(default_factory=list)

    def take(self, batch: RecordBatch) -> None:
        """Move behind a batch."""
        if self.left and self.left[0].from_offset < batch.base_offset:
            self.removed += self._cut(batch.base_offset)
        covered = self._cut(batch.last_offset + 1)
        if batch.is_control:
            closed = self.waiting.pop(batch.producer_id, [])
            if not batch.is_abort:
                self.removed += closed
        elif covered and batch.is_transactional and batch.records:
            self.waiting.setdefault(batch.producer_id, []).extend(covered)
        else:
            self.removed += covered
        self.position = batch.last_offset + 1

    def _cut(self, until: int) -> list[OffsetRange]:
        """Take the gaps before an offset off what is left."""
        cut = []
        while self.left and self.left[0].from_offset < until:
            gap = self.left.popleft()
            if gap.until_offset > until:
                self.left.appendleft(OffsetRange(*gap.place, until, gap.until_offset))
                gap = OffsetRange(*gap.place, gap.from_offset, until)
            cut.append(gap)
        return cut


def _follow(search: _Search, found: Iterator[RecordBatch]) -> bool:
    """Take batches until some can be skipped or nothing is left to explain.

    Says whether it stopped before the log's end.
    """
    for batch in found:
        if batch.last_offset < search.position:
            continue
        search.take(batch)
        if not search.waiting and not (search.left and search.left[0].from_offset == search.position):
            return True
    return False
