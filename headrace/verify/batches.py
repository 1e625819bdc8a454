"""I1 and I3: the batches' records, as an independent consumer finds them, held against their receipts."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import NamedTuple

from headrace.kafka.cluster import Block, Cluster
from headrace.kafka.offsets import Extent, OffsetRange, Offsets, TopicPartition, gaps_between, merged, without
from headrace.ledger.progress import published_runs
from headrace.ledger.receipts import Receipt, fingerprint, key_prefix, receipt_by_prefix, sequence_of
from headrace.verify import result
from headrace.verify.checks.balance import Gaps
from headrace.verify.checks.keys import KEYS
from headrace.verify.checks.receipts import RECEIPTS, check_excused, check_read_back
from headrace.verify.findings import Findings
from headrace.verify.readable import Readable
from headrace.verify.snapshot import Snapshot


class OfBatch(NamedTuple):
    """A record whose key has the form of a batch's."""

    offset: int
    key: bytes
    fingerprint: int


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
    """The batches whose records a verify run comes across, by the records' keys.

    Args:
        snapshot: The folder, with the receipts.
        kafka: The cluster.
        there: What Kafka can still be asked for.
        gaps: Looks into offsets without a record.
        findings: Takes what does not hold.
    """

    def __init__(
        self, snapshot: Snapshot, kafka: Cluster, there: Readable, gaps: Gaps, findings: Findings
    ) -> None:
        self.snapshot = snapshot
        self.kafka = kafka
        self.there = there
        self.gaps = gaps
        self.findings = findings
        scope = frozenset(snapshot.scope.receipts)
        self.tallies = {
            key_prefix(receipt.pipeline, receipt.run): Tally(receipt, receipt.run in scope)
            for receipt in snapshot.receipts
        }
        # Bounded: foreign keys that look like those of batches may all differ.
        self._other = lru_cache(1 << 16)(partial(receipt_by_prefix, snapshot.folder))
        self._unreadable: set[str] = set()
        """Runs of which not every record can be read any more."""
        self._accepted: set[str] = set()
        """Runs that an acceptance settles."""
        self._excused: dict[str, int] = defaultdict(int)
        """Of each batch that an acceptance settles in this run: how many offsets that it claims are gone at
        most."""

    def _tally(self, prefix: bytes) -> Tally | None:
        if (tally := self.tallies.get(prefix)) is None and (receipt := self._other(prefix)):
            tally = self.tallies[prefix] = Tally(receipt, in_scope=False)
        return tally

    def take(self, place: TopicPartition, records: Iterable[OfBatch]) -> None:
        """Count records whose keys have the form of a batch's."""
        for offset, key, digest in records:
            if (parts := sequence_of(key)) is None or (tally := self._tally(parts[0])) is None:
                continue
            sequence = parts[1]
            claimed = tally.claimed.get(place)
            # What lies before the receipt's start was sent under the same name before a reset.
            if tally.receipt.digest is None or offset < tally.receipt.start.get(place, 0):
                continue
            if claimed is None or not claimed.lowest <= offset <= claimed.highest:
                self.findings.add_record(
                    KEYS,
                    f"of run {tally.receipt.run} beyond what its receipt claims",
                    place,
                    offset,
                    micro_batch=self._where(tally, place, offset),
                    receipt=tally.receipt.run,
                )
            if not tally.in_scope:
                continue
            self.findings.checked[KEYS] += 1
            if sequence >= len(tally.seen) or tally.seen[sequence]:
                run = tally.receipt.run
                what = (
                    f"of run {run} twice"
                    if sequence < len(tally.seen)
                    else f"with a key that run {run} never made"
                )
                self.findings.add_record(KEYS, what, place, offset, receipt=run)
            else:
                tally.seen[sequence] = True
            tally.digest += digest
            tally.landed[place] = Extent(offset, offset, 1).joined(tally.landed.get(place))

    def _where(self, tally: Tally, place: TopicPartition, offset: int) -> int | None:
        """The micro-batch of a record that its receipt does not lead back to."""
        if tally.receipt.run in self.snapshot.altered_receipts:
            return None  # what such a receipt claims says nothing about a micro-batch
        return self.snapshot.published_by(place, offset)

    def read_back(self, covered: list[OffsetRange]) -> None:
        """Read the records of the batches in the scope that no micro-batch in the scope covers.

        Args:
            covered: Ranges whose records were taken before.
        """
        rest: dict[TopicPartition, list[OffsetRange]] = defaultdict(list)
        chosen = self.snapshot.chosen_receipts
        proven = {
            run
            for run in self.snapshot.scope.receipts
            if self.snapshot.proven_receipts.get(run, "") == self.snapshot.hashes.receipts.get(run)
        }
        for receipt, claimed in ((each, claimed) for each in chosen for claimed in claims(each)):
            still = self.there.part(claimed)
            if still.missing:
                self._unreadable.add(receipt.run)
                left = self.snapshot.accepted.rest(still.missing)
                if left != [still.missing]:
                    self._accepted.add(receipt.run)
                    self._excused[receipt.run] += len(still.missing)
                    rest[claimed.place] += filter(None, [still.readable])
                if receipt.run not in proven:
                    self.there.report_unproven(RECEIPTS, left, still.why, receipt=receipt.run)
            else:
                wider = claimed if receipt.run in proven else _from_start(receipt, claimed, self.there)
                rest[claimed.place].append(wider)
        for hole in (hole for ranges in rest.values() for hole in merged(ranges)):
            for offset_range in without(hole, covered):
                self._read(offset_range)
        for receipt in chosen:
            if receipt.run in proven and any(
                claimed.overlaps(each) for claimed in claims(receipt) for each in self.gaps.removed_since
            ):
                self._unreadable.add(receipt.run)
        self._settle_lost(chosen)
        for run in proven:
            self._excused.pop(run, None)  # Kafka may have removed more of it since

    def _read(self, offset_range: OffsetRange) -> None:
        gaps: list[OffsetRange] = []
        at = offset_range.from_offset
        for block in self.kafka.read(offset_range):
            self.take(block.place, of_batches(block))
            span = OffsetRange(*offset_range.place, at, block.offsets[-1] + 1)
            gaps += gaps_between(span, block.offsets)
            at = span.until_offset
        if at < offset_range.until_offset:
            gaps.append(OffsetRange(*offset_range.place, at, offset_range.until_offset))
        self.gaps.removed_since += self.gaps.removed(gaps, {})

    def _settle_lost(self, chosen: Iterable[Receipt]) -> None:
        """Of the runs of whose claims something was accepted as lost, as many records are excused."""
        accepted = self.snapshot.accepted
        for receipt in chosen:
            if any(map(accepted.has_lost, claims(receipt))):
                self._unreadable.add(receipt.run)
                self._accepted.add(receipt.run)
                parts = (self.there.part(each).readable for each in claims(receipt))
                self._excused[receipt.run] += sum(accepted.lost_of(part) for part in parts if part)

    def check(self) -> None:
        """I1 for each batch in the scope, after all its records were taken."""
        start = self.snapshot.identity.start if self.snapshot.identity else Offsets()
        ledger = start, self.snapshot.ends
        for tally in self.tallies.values():
            run = tally.receipt.run
            if tally.in_scope and run in self._excused:
                check_excused(tally.receipt, tally.count, self._excused[run], self.findings)
            if tally.in_scope and run not in self._unreadable:
                check_read_back(tally.receipt, tally.digest, tally.landed, ledger, self.findings)

    def accounts(self) -> list[result.ReceiptAccount]:
        """The report's account of each batch in the scope, then of those that wait for a later one."""

        def state(run: str) -> result.ReceiptState:
            if run in self.findings.receipts:
                return result.ReceiptState.BROKEN
            if run in self._accepted:
                return result.ReceiptState.ACCEPTED
            return result.ReceiptState.AGED_OUT if run in self._unreadable else result.ReceiptState.VERIFIED

        accounts = [
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
        published = published_runs(self.snapshot.folder) | set(self.snapshot.scope.receipts)
        for receipt in (each for each in self.snapshot.receipts if each.run not in published):
            waits = result.ReceiptState.OPEN if receipt.digest is None else result.ReceiptState.PENDING
            accounts.append(
                result.ReceiptAccount(
                    run=receipt.run, state=waits, wanted=receipt.records, landed=0, partitions=[]
                )
            )
        return accounts


def of_batches(block: Block) -> list[OfBatch]:
    """The block's records whose keys have the form of a batch's."""
    return [
        OfBatch(offset, key, fingerprint(key, value))
        for offset, key, value in zip(block.offsets, block.keys, block.values, strict=True)
        if key is not None and sequence_of(key)
    ]


def claims(receipt: Receipt) -> list[OffsetRange]:
    """The offset ranges in which a receipt claims its records to lie."""
    return [each.range for each in receipt.landings]


def _from_start(receipt: Receipt, claimed: OffsetRange, there: Readable) -> OffsetRange:
    """What a receipt claims, and what lies before it since its producer began.

    A try that was killed may have sent a record more.
    """
    start, earliest = (
        receipt.start.get(claimed.place, claimed.from_offset),
        there.topics.earliest[claimed.place],
    )
    return OffsetRange(*claimed.place, min(max(start, earliest), claimed.from_offset), claimed.until_offset)
