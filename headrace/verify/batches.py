"""I1 and I3: the batches' records, as an independent consumer finds them, held against their receipts."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from headrace.kafka.cluster import Block
from headrace.kafka.offsets import Extent, OffsetRange, Offsets, TopicPartition
from headrace.ledger.receipts import DIGEST_MODULUS, Receipt, fingerprint, key_prefix, sequence_of
from headrace.verify import result
from headrace.verify.findings import Findings, Invariant


@dataclass
class Tally:
    """What was read back of one batch."""

    receipt: Receipt
    in_scope: bool
    """Whether its records are to be read back in full; of another one only stray records matter."""
    seen: bytearray = field(init=False)
    digest: int = 0
    landed: dict[TopicPartition, Extent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seen = bytearray(self.receipt.records if self.in_scope else 0)
        self.claimed = {landing.place: landing.extent for landing in self.receipt.landings}

    @property
    def count(self) -> int:
        """Records read back."""
        return sum(extent.count for extent in self.landed.values())


class Batches:
    """Reads the records of blocks as members of batches, by their keys.

    Args:
        receipts: of the batches that are known
        scope: runs whose batches are read back in full
        other: finds the receipt of a batch that is not among `receipts`, by the prefix of its keys
        published_by: finds the micro-batch that published a topic-partition's offset
        altered: runs whose receipts are not what they were when they were verified: what they claim says nothing about a micro-batch
    """

    def __init__(
        self,
        receipts: Iterable[Receipt],
        scope: Iterable[str],
        other: Callable[[bytes], Receipt | None],
        published_by: Callable[[TopicPartition, int], int | None],
        altered: Collection[str] = (),
    ) -> None:
        wanted = frozenset(scope)
        self.tallies = {key_prefix(receipt.pipeline, receipt.run): Tally(receipt, receipt.run in wanted) for receipt in receipts}
        self._published_by = published_by
        self._altered = altered
        self._other = lru_cache(1 << 16)(other)  # bounded: foreign keys that look like those of batches may all differ

    def _tally(self, prefix: bytes) -> Tally | None:
        if (tally := self.tallies.get(prefix)) is None and (receipt := self._other(prefix)):
            tally = self.tallies[prefix] = Tally(receipt, in_scope=False)
        return tally

    def take(self, block: Block, findings: Findings) -> None:
        """Count the block's records that belong to a batch."""
        place = block.place
        for offset, key, value in zip(block.offsets, block.keys, block.values, strict=True):
            if (parts := sequence_of(key)) is None or key is None or (tally := self._tally(parts[0])) is None:
                continue
            sequence = parts[1]
            claimed = tally.claimed.get(place)
            # What lies before the receipt's start was sent under the same name before a reset.
            if tally.receipt.digest is None or offset < tally.receipt.start.get(place, 0):
                continue
            if claimed is None or not claimed.lowest <= offset <= claimed.highest:
                findings.add_record(
                    Invariant.KEYS_UNIQUE,
                    f"of run {tally.receipt.run} beyond what its receipt claims",
                    place,
                    offset,
                    micro_batch=self._where(tally, place, offset),
                    receipt=tally.receipt.run,
                )
            if not tally.in_scope:
                continue
            findings.checked[Invariant.KEYS_UNIQUE] += 1
            if sequence >= len(tally.seen) or tally.seen[sequence]:
                run = tally.receipt.run
                what = f"of run {run} twice" if sequence < len(tally.seen) else f"with a key that run {run} never made"
                findings.add_record(Invariant.KEYS_UNIQUE, what, place, offset, receipt=run)
            else:
                tally.seen[sequence] = True
            tally.digest += fingerprint(key, value)
            tally.landed[place] = Extent(offset, offset, 1).joined(tally.landed.get(place))

    def _where(self, tally: Tally, place: TopicPartition, offset: int) -> int | None:
        """The micro-batch of a record that its receipt does not lead back to."""
        return None if tally.receipt.run in self._altered else self._published_by(place, offset)

    def check(self, start: Offsets, published: Offsets, unreadable: set[str], excused: Mapping[str, int], findings: Findings) -> None:
        """I1 for each batch in the scope.

        The ledger leads from `start` to `published`; of `unreadable` runs not every record can be read any more: of those that are `excused`
        by an acceptance, so many are missing at most.
        """
        for tally in self.tallies.values():
            run, wanted = tally.receipt.run, tally.receipt.records
            if tally.in_scope and run in excused and tally.count + excused[run] < wanted:
                message = f"run {run} wanted {wanted:,} records, {tally.count:,} were read back, and {excused[run]:,} at most left Kafka"
                findings.add(Invariant.RECEIPTS_LANDED, message, receipt=run)
            if not tally.in_scope or run in unreadable:
                continue
            findings.checked[Invariant.RECEIPTS_LANDED] += 1
            receipt = tally.receipt
            for place in sorted(tally.claimed.keys() | tally.landed.keys()):
                _check_place(receipt, place, tally.claimed.get(place), tally.landed.get(place), (start, published), findings)
            if tally.count != receipt.records:
                message = f"run {receipt.run} wanted {receipt.records:,} records, {tally.count:,} were read back"
                findings.add(Invariant.RECEIPTS_LANDED, message, receipt=receipt.run)
            elif receipt.digest is not None and int(receipt.digest, 16) != tally.digest % DIGEST_MODULUS:
                message = (
                    f"run {receipt.run}: the records read back have another digest than the receipt: a key or value is not what was sent"
                )
                findings.add(Invariant.RECEIPTS_LANDED, message, receipt=receipt.run)

    def accounts(
        self, findings: Findings, unreadable: set[str], accepted: set[str], unverified: Iterable[Receipt]
    ) -> list[result.ReceiptAccount]:
        """The report's account of each batch in the scope, then of those that wait for a later one."""

        def state(run: str) -> result.ReceiptState:
            if run in findings.receipts:
                return result.ReceiptState.BROKEN
            if run in accepted:
                return result.ReceiptState.ACCEPTED
            return result.ReceiptState.AGED_OUT if run in unreadable else result.ReceiptState.VERIFIED

        told = [
            result.ReceiptAccount(
                run=tally.receipt.run,
                state=state(tally.receipt.run),
                wanted=tally.receipt.records,
                landed=tally.count,
                partitions=[
                    result.Landed(
                        topic=landing.topic,
                        partition=landing.partition,
                        lowest_offset=landing.lowest_offset,
                        highest_offset=landing.highest_offset,
                        count=landing.count,
                        landed=found.count if (found := tally.landed.get(landing.place)) else 0,
                    )
                    for landing in tally.receipt.landings
                ],
            )
            for tally in self.tallies.values()
            if tally.in_scope
        ]
        for receipt in unverified:
            waits = result.ReceiptState.OPEN if receipt.digest is None else result.ReceiptState.PENDING
            told.append(result.ReceiptAccount(run=receipt.run, state=waits, wanted=receipt.records, landed=0, partitions=[]))
        return told


def claims(receipt: Receipt) -> list[OffsetRange]:
    """The offset ranges in which a receipt claims its records to lie."""
    return [each.range for each in receipt.landings]


def _check_place(
    receipt: Receipt,
    place: TopicPartition,
    claimed: Extent | None,
    landed: Extent | None,
    ledger: tuple[Offsets, Offsets],
    findings: Findings,
) -> None:
    known = claimed or landed
    start, until = (offsets.get(place, 0) for offsets in ledger)
    if known is None or (claimed == landed == known and start <= known.lowest and known.highest < until):
        return
    if claimed != landed:
        message = f"run {receipt.run}: its receipt says {_told(claimed)}, read back {_told(landed)}"
    else:
        message = (
            f"run {receipt.run} has records at offsets {known.lowest} to {known.highest}, published is what lies from {start} until {until}"
        )
    findings.add_range(Invariant.RECEIPTS_LANDED, message, OffsetRange(*place, known.lowest, known.highest + 1), receipt=receipt.run)


def _told(extent: Extent | None) -> str:
    return f"{extent.count:,} records, offsets {extent.lowest} to {extent.highest}" if extent else "nothing"
