"""How far a pipeline has come: the last stream that ran to its end, and what verify was green about."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from headrace import documents
from headrace.documents import Document
from headrace.ledger.entries import Entry, positions
from headrace.ledger.folder import ENTRY, Folder
from headrace.ledger.identity import Identity, read_identity
from headrace.ledger.ranges import Positions
from headrace.ledger.receipts import Receipt, ReceiptState, receipts


class Streamed(Document, frozen=True, kw_only=True):
    """`streamed.json`: the last stream that ran to its end. What committed readers could see when it started is published."""

    run: str
    started_at: datetime
    ended_at: datetime
    receipts: list[str]
    """Runs whose receipts were complete when it started and not verified yet. By name: moments would compare several machines' clocks."""


class Owed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A micro-batch that was found wanting and is looked at until it is green again."""

    found_at: datetime
    """When the report that found it began; an older report says nothing of it."""
    restorable: bool
    """Whether I5 or I8 found it, each time: its entry or files were missing or others, and hashes tell when what was verified is put back."""


class LastRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last record of a topic-partition that verify has read: if another one is there now, Kafka lost its end and was filled anew."""

    topic: str
    partition: int
    offset: int
    fingerprint: str
    """Of key, value and timestamp, as 32 hex digits."""


class Verified(Document, frozen=True, kw_only=True):
    """`verified.json`: how far verify was green, and what it found wanting since and is to look at until it is green again."""

    checkpoint: str | None = None
    """Of the ledger that was verified: with another one nothing is verified yet."""
    micro_batch: int = -1
    """All up to this one were verified."""
    entries: str | None = None
    """SHA-256 over the entries of all of these, in order: they are final, so that it holds for good."""
    receipts: dict[str, str] = msgspec.field(default_factory=dict)
    """Run → SHA-256 of the receipt that was verified."""
    owed_micro_batches: dict[int, Owed] = msgspec.field(default_factory=dict)
    owed_receipts: dict[str, datetime] = msgspec.field(default_factory=dict)
    """Runs whose receipts were found wanting, and when the report that found it began."""
    last_records: list[LastRecord] = msgspec.field(default_factory=list)


def read_streamed(folder: Folder) -> Streamed | None:
    """The last stream that ran to its end, or `None`."""
    return documents.read(folder.streamed, Streamed) if folder.streamed.exists() else None


def read_verified(folder: Folder) -> Verified:
    """How far verify was green on the ledger that is there; nowhere before the first time."""
    identity = read_identity(folder)
    known = documents.read(folder.verified, Verified) if folder.verified.exists() else Verified()
    if identity is None or identity.checkpoint in {None, known.checkpoint}:
        return known
    return Verified(checkpoint=identity.checkpoint)


def is_of_another_checkpoint(folder: Folder) -> bool:
    """Whether `verified.json` speaks of another checkpoint than identity.json: one of the two may be in the wrong place, and come back."""
    return folder.verified.exists() and documents.read(folder.verified, Verified).checkpoint not in {None, read_verified(folder).checkpoint}


def published_runs(folder: Folder) -> set[str]:
    """The runs of whose batches a stream that ran to its end had all before it. By name, so that a receipt that went away is missed."""
    streamed, verified = read_streamed(folder), read_verified(folder)
    return {*verified.receipts, *verified.owed_receipts, *(streamed.receipts if streamed else [])}


def streamed_runs(folder: Folder, before: Sequence[Receipt]) -> list[str]:
    """The names for `streamed.json`: receipts that were complete before the stream, and those of earlier streams that nobody has verified."""
    return sorted({receipt.run for receipt in before} | (published_runs(folder) - read_verified(folder).receipts.keys()))


def completed_receipts(folder: Folder) -> list[Receipt]:
    """The receipts that are complete by now and not verified yet: whose records a stream that starts now must publish."""
    verified = read_verified(folder)
    return [receipt for receipt in receipts(folder) if receipt.state == ReceiptState.COMPLETE and receipt.run not in verified.receipts]


def roll_back(folder: Folder, identity: Identity, ledger: Sequence[Entry]) -> None:
    """If ledger and checkpoint were put back together from an older copy, what comes now was verified by nobody."""
    with folder.locked("the opening of the ledger", lock=Folder.VERIFIED_LOCK, patience=Folder.BRIEFLY):
        known = read_verified(folder)
        if known.micro_batch < len(ledger):
            return
        ends = positions(identity.start, ledger)
        whole = {receipt.run for receipt in receipts(folder) if _lies_before(receipt, ends)}
        rolled_back = msgspec.structs.replace(
            known,
            micro_batch=len(ledger) - 1,
            entries=entries_sha256(folder, len(ledger) - 1),
            receipts={run: sha256 for run, sha256 in known.receipts.items() if run in whole},
            last_records=[last for last in known.last_records if last.offset < ends.get(last.topic, {}).get(last.partition, 0)],
        )
        documents.write(folder.verified, rolled_back)


def receipt_sha256(folder: Folder, run: str) -> str | None:
    """SHA-256 of a run's receipt as it lies there, or `None` if it is missing."""
    return _sha256(folder.receipt(run))


def entry_sha256(folder: Folder, micro_batch: int) -> str | None:
    """SHA-256 of a micro-batch's entry as it lies there, or `None` if it is missing."""
    return _sha256(folder.published(folder.events, micro_batch) / ENTRY)


def entries_sha256(folder: Folder, until: int) -> str | None:
    """SHA-256 over the entries up to a micro-batch as they lie there, or `None` if one of them is missing."""
    whole = hashlib.sha256()
    for micro_batch in range(until + 1):
        digest = entry_sha256(folder, micro_batch)
        if digest is None:
            return None
        whole.update(bytes.fromhex(digest))
    return whole.hexdigest()


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _lies_before(receipt: Receipt, ends: Positions) -> bool:
    return all(landing.highest_offset < ends.get(landing.topic, {}).get(landing.partition, 0) for landing in receipt.landings)
