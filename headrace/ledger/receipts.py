"""Receipts: what a producer can prove about its batch."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from headrace import documents
from headrace.documents import Document
from headrace.ledger.folder import Folder
from headrace.ledger.ranges import OffsetRange, Positions

DIGEST_MODULUS = 1 << 128
PREFIX_DIGITS = 12
SEQUENCE_DIGITS = 10


class ReceiptState(StrEnum):
    """A batch is `open` from before its first send until every record is acknowledged."""

    OPEN = "open"
    COMPLETE = "complete"


class Landing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a batch's records lie in one topic-partition; records of others may lie between."""

    topic: str
    partition: int
    lowest_offset: int
    highest_offset: int
    count: int

    def __post_init__(self) -> None:
        """Raise `ValueError` for offsets that are no range."""
        OffsetRange(self.topic, self.partition, self.lowest_offset, self.highest_offset + 1)


class Receipt(Document, frozen=True, kw_only=True):
    """What one run's producer can prove.

    `digest` is the sum modulo 2^128 of `fingerprint` over the batch's records, as 32 hex digits: neither order nor foreign
    records in between matter to it.
    """

    pipeline: str
    run: str
    state: ReceiptState
    seed: int
    records: Annotated[int, msgspec.Meta(ge=0)]
    """Wanted."""
    malformed: float
    """Wanted share of malformed records, 0 to 1."""
    opened_at: datetime
    start: Positions
    """End of each partition when the receipt was opened: no record of the batch lies before it."""
    completed_at: datetime | None = None
    landings: list[Landing] = msgspec.field(default_factory=list)
    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")] | None = None


def key_prefix(pipeline: str, run: str) -> bytes:
    """How the keys of a batch begin: `<12 hex of sha256(pipeline, 0, run id)>-`. Scheduled runs of two pipelines have the same id."""
    return hashlib.sha256(f"{pipeline}\0{run}".encode()).hexdigest()[:PREFIX_DIGITS].encode() + b"-"


def key(prefix: bytes, sequence: int) -> bytes:
    """The key of a record: prefix and sequence number."""
    return prefix + f"{sequence:0{SEQUENCE_DIGITS}}".encode()


def sequence_of(record_key: bytes | None) -> tuple[bytes, int] | None:
    """Prefix and sequence number of a key that has the form of a batch's, or `None`."""
    if record_key is None or len(record_key) != PREFIX_DIGITS + 1 + SEQUENCE_DIGITS or not record_key[-SEQUENCE_DIGITS:].isdigit():
        return None
    return record_key[:-SEQUENCE_DIGITS], int(record_key[-SEQUENCE_DIGITS:])


def fingerprint(record_key: bytes, value: bytes | None) -> int:
    """128-bit hash of key ‖ 0 ‖ value; a null value hashes like no value at all, without the 0."""
    content = record_key if value is None else record_key + b"\0" + value
    return int.from_bytes(hashlib.blake2b(content, digest_size=16).digest(), "big")


def receipts(folder: Folder) -> Iterator[Receipt]:
    """Every receipt, in no particular order."""
    for path in folder.receipts.glob("*.json"):
        yield documents.read(path, Receipt)
