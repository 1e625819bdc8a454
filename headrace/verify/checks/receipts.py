"""I1: each batch, read back, is what its receipt says."""

from headrace.kafka.offsets import Extent, OffsetRange, Offsets, TopicPartition
from headrace.ledger import verified_receipts
from headrace.ledger.receipts import DIGEST_MODULUS, Receipt, ReceiptState
from headrace.verify.findings import Advice, Findings, Invariant
from headrace.verify.snapshot import Snapshot

RECEIPTS = Invariant(
    id="I1",
    word="receipts",
    title="each batch, read back, is what its receipt says and lies in published ranges",
    unit="receipts",
    advice=Advice(
        means="What the producer can prove to have sent is not what was read back, or lies outside everything that was published.",
        do="If offsets after the last micro-batch are named, run {pipeline}_ingest again: it goes on where the last one ended. "
        "If Kafka lost or never had the records, produce them again in a new run. If the receipt's file was altered, put back a copy.",
    ),
)


def check_receipts(snapshot: Snapshot, findings: Findings) -> None:
    """The receipts in the scope are there, complete, and what they were when they were verified."""
    complete = {receipt.run for receipt in snapshot.receipts if receipt.state == ReceiptState.COMPLETE}
    absent = set(snapshot.scope.receipts) - complete
    expired = {run for run in absent if verified_receipts.has_expired(snapshot.folder, run)}
    for run in sorted(absent - expired):
        findings.add(
            RECEIPTS, f"run {run}: its receipt was there, complete, and is not any more", receipt=run
        )
    if expired or snapshot.scope.has_expired:
        findings.not_checked(RECEIPTS)
    for run in sorted(snapshot.altered_receipts):
        findings.add(RECEIPTS, f"run {run}: its receipt has changed since it was verified", receipt=run)


def check_read_back(
    receipt: Receipt,
    digest: int,
    landed: dict[TopicPartition, Extent],
    ledger: tuple[Offsets, Offsets],
    findings: Findings,
) -> None:
    """Hold a receipt against all records of its batch.

    Args:
        receipt: What the producer can prove.
        digest: Of the records that were read back.
        landed: Where they lie.
        ledger: Where the ledger starts and ends.
        findings: Takes what does not hold.
    """
    findings.checked[RECEIPTS] += 1
    claimed = {landing.place: landing.extent for landing in receipt.landings}
    count = sum(extent.count for extent in landed.values())
    for place in sorted(claimed.keys() | landed.keys()):
        _check_place(receipt, place, claimed.get(place), landed.get(place), ledger, findings)
    if count != receipt.records:
        message = f"run {receipt.run} wanted {receipt.records:,} records, {count:,} were read back"
        findings.add(RECEIPTS, message, receipt=receipt.run)
    elif receipt.digest is not None and int(receipt.digest, 16) != digest % DIGEST_MODULUS:
        message = f"run {receipt.run}: the records read back have another digest than the receipt: a key or value is not what was sent"
        findings.add(RECEIPTS, message, receipt=receipt.run)


def check_excused(receipt: Receipt, count: int, excused: int, findings: Findings) -> None:
    """Of a batch that an acceptance settles, no more is missing than left Kafka.

    Args:
        receipt: What the producer can prove.
        count: How many of its records were read back.
        excused: How many left Kafka, at most.
        findings: Takes what does not hold.
    """
    if count + excused < receipt.records:
        message = f"run {receipt.run} wanted {receipt.records:,} records, {count:,} were read back, and {excused:,} at most left Kafka"
        findings.add(RECEIPTS, message, receipt=receipt.run)


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
        message = f"run {receipt.run}: its receipt says {_in_words(claimed)}, read back {_in_words(landed)}"
    else:
        message = f"run {receipt.run} has records at offsets {known.lowest} to {known.highest}, published is what lies from {start} until {until}"
    findings.add_range(
        RECEIPTS, message, OffsetRange(*place, known.lowest, known.highest + 1), receipt=receipt.run
    )


def _in_words(extent: Extent | None) -> str:
    return f"{extent.count:,} records, offsets {extent.lowest} to {extent.highest}" if extent else "nothing"
