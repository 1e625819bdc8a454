"""Receipts: what a producer can prove about its batch.

How a verified one leaves the way is in `verified_receipts.py`.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from headrace import documents
from headrace.documents import Document
from headrace.kafka.offsets import Extent, OffsetRange, Offsets, Placed, TopicPartition
from headrace.ledger.folder import Folder
from headrace.ledger.names import PREFIX_DIGITS, run_digits

DIGEST_MODULUS = 1 << 128
SEQUENCE_DIGITS = 10
IS_PREFIX = re.compile(rb"[0-9a-f]{%d}-" % PREFIX_DIGITS).fullmatch


class ReceiptState(StrEnum):
    """A batch is `open` from before its first send until every record is acknowledged."""

    OPEN = "open"
    COMPLETE = "complete"


class Landing(Placed, msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a batch's records lie in one topic-partition; records of others may lie between."""

    topic: str
    partition: int
    lowest_offset: int
    highest_offset: int
    count: int

    def __post_init__(self) -> None:
        """Raise `ValueError` for offsets that are no range."""
        _ = self.range

    @classmethod
    def of(cls, place: TopicPartition, extent: Extent) -> "Landing":
        """The records of a topic-partition."""
        return cls(
            topic=place.topic,
            partition=place.partition,
            lowest_offset=extent.lowest,
            highest_offset=extent.highest,
            count=extent.count,
        )

    @property
    def extent(self) -> Extent:
        """Where the records lie."""
        return Extent(self.lowest_offset, self.highest_offset, self.count)

    @property
    def range(self) -> OffsetRange:
        """From the first record to the last."""
        return OffsetRange(*self.place, self.lowest_offset, self.highest_offset + 1)


class Receipt(Document, frozen=True, kw_only=True):
    """What one run's producer can prove.

    `digest` is the sum modulo 2^128 of `fingerprint` over the batch's records, as 32 hex digits: neither
    order nor foreign records in between matter to it.
    """

    schema: Literal[1] = 1
    pipeline: str
    run: str
    state: ReceiptState
    seed: int
    records: Annotated[int, msgspec.Meta(ge=0)]
    """Wanted."""
    malformed: float
    """Wanted share of malformed records, 0 to 1."""
    opened_at: datetime
    start: Offsets
    """End of each partition when the receipt was opened: no record of the batch lies before it."""
    completed_at: datetime | None = None
    landings: list[Landing] = msgspec.field(default_factory=list)
    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")] | None = None


def key_prefix(pipeline: str, run: str) -> bytes:
    """How the keys of a batch begin: the 12 digits of its run, and `-`."""
    return run_digits(pipeline, run).encode() + b"-"


def key(prefix: bytes, sequence: int) -> bytes:
    """The key of a record: prefix and sequence number."""
    return b"%b%0*d" % (prefix, SEQUENCE_DIGITS, sequence)


def sequence_of(record_key: bytes | None) -> tuple[bytes, int] | None:
    """Prefix and sequence number of a key that has the form of a batch's, or `None`."""
    if (
        record_key is None
        or len(record_key) != PREFIX_DIGITS + 1 + SEQUENCE_DIGITS
        or not record_key[-SEQUENCE_DIGITS:].isdigit()
    ):
        return None
    return record_key[:-SEQUENCE_DIGITS], int(record_key[-SEQUENCE_DIGITS:])


def fingerprint(record_key: bytes, value: bytes | None) -> int:
    """128-bit hash of key ‖ 0 ‖ value; a null value hashes like no value at all, without the 0."""
    content = record_key if value is None else record_key + b"\0" + value
    return int.from_bytes(hashlib.blake2b(content, digest_size=16).digest(), "big")


def receipts(folder: Folder, *, verified: bool = False) -> Iterator[Receipt]:
    """The receipts that are not verified yet, or the verified ones, in no particular order."""
    for path in (folder.verified_receipts if verified else folder.receipts).glob("*.json"):
        with suppress(FileNotFoundError):  # moved to the others at this moment
            yield documents.read(path, Receipt)


def receipt_of(folder: Folder, run: str) -> Receipt | None:
    """The receipt of a run, verified or not; `None` if there is none. Raises like `documents.read`."""
    data = _content(folder, run)
    return documents.decode(folder.receipt(run), data, Receipt) if data is not None else None


def receipt_by_prefix(folder: Folder, prefix: bytes) -> Receipt | None:
    """The verified receipt of the batch whose keys begin so; `None` if there is none."""
    if IS_PREFIX(prefix):
        with suppress(FileNotFoundError):
            return documents.read(folder.verified_receipts / f"{prefix[:-1].decode()}.json", Receipt)
    return None


def receipt_sha256(folder: Folder, run: str) -> str | None:
    """SHA-256 of a run's receipt as it is on disk, or `None` if it is missing."""
    data = _content(folder, run)
    return hashlib.sha256(data).hexdigest() if data is not None else None


def _content(folder: Folder, run: str) -> bytes | None:
    for _ in range(2):  # it may be moved between the look for it and the read
        with suppress(FileNotFoundError):
            return documents.content(folder.receipt(run))
    return None
