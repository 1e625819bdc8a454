"""The header of a record batch, from the bytes of Kafka's log."""

import struct
from dataclasses import dataclass

HEADER = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, format version, CRC, attributes, last offset delta, 2 timestamps,
producer id, epoch and sequence, count."""
BEFORE_LENGTH = 12
"""Bytes of a batch that its length does not count."""
FORMAT_AT = 16
"""Where the format version lies, in all of them."""
TRANSACTIONAL, CONTROL = 0x10, 0x20
ABORT = 0


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """The header of one record batch.

    Attributes:
        base_offset: The first offset.
        last_offset: The last offset, inclusive.
        is_control: Whether it holds a transaction marker in place of records.
        is_transactional: Whether it belongs to a transaction; true of markers too.
        producer_id: The same in each epoch of a transactional id; -1 without idempotence.
        records: How many are left: less than offsets after compaction.
        is_abort: Whether the marker is one; a marker that compaction emptied is not.
    """

    base_offset: int
    last_offset: int
    is_control: bool
    is_transactional: bool
    producer_id: int
    records: int
    is_abort: bool


def parse(data: bytes) -> list[RecordBatch]:
    """The whole batches in the bytes of a Fetch answer; what is cut off at their end is left out.

    A message of the formats before 2 (Kafka 0.10 and older) comes out as a plain batch of one offset: it
    knows no transactions.
    """
    batches = []
    at = 0
    while at + FORMAT_AT < len(data):
        base, length = struct.unpack_from(">qi", data, at)
        if length <= 0 or at + BEFORE_LENGTH + length > len(data):
            break
        if data[at + FORMAT_AT] >= 2:  # noqa: PLR2004, that is the format's name
            _, _, _, _, _, attributes, delta, _, _, producer, _, _, count = HEADER.unpack_from(data, at)
            is_control = bool(attributes & CONTROL)
            is_abort = is_control and count > 0 and _control_type(data, at + HEADER.size) == ABORT
            batches.append(
                RecordBatch(
                    base,
                    base + delta,
                    is_control,
                    bool(attributes & TRANSACTIONAL),
                    producer,
                    count,
                    is_abort,
                )
            )
        else:
            batches.append(
                RecordBatch(
                    base,
                    base,
                    is_control=False,
                    is_transactional=False,
                    producer_id=-1,
                    records=1,
                    is_abort=False,
                )
            )
        at += BEFORE_LENGTH + length
    return batches


def _control_type(data: bytes, at: int) -> int:
    """The type of a control record: 0 is abort, 1 is commit. Control batches are never compressed."""
    at = _after_varint(data, at) + 1  # length, attributes
    for _ in range(3):  # timestamp delta, offset delta, length of the key
        at = _after_varint(data, at)
    return int(struct.unpack_from(">hh", data, at)[1])  # the key: version and type


def _after_varint(data: bytes, at: int) -> int:
    while data[at] & 0x80:
        at += 1
    return at + 1
