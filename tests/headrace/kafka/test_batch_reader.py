"""Record batches from hand-made bytes, and a reader of them on a broker that is none."""

import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from typing import Any

import pytest

from headrace.errors import BrokerError, Code, UnsupportedLoginError
from headrace.kafka import batch_reader
from headrace.kafka.batch_reader import Answer, BatchReader, OutOfRangeError, TransientError
from headrace.kafka.offsets import TopicPartition
from headrace.kafka.record_batch import RecordBatch, parse

PLAIN = RecordBatch(
    0, 9, is_control=False, is_transactional=False, producer_id=-1, records=10, is_abort=False
)
RECORDS = replace(PLAIN, base_offset=10, last_offset=12, is_transactional=True, producer_id=2**40, records=3)
COMMIT = replace(RECORDS, base_offset=13, last_offset=13, is_control=True, records=1)
ABORT = replace(COMMIT, base_offset=14, last_offset=14, is_abort=True)


@cache
def encode(batch: RecordBatch, *, payload: int = 0) -> bytes:
    """One record batch as Kafka documents it, with so many bytes in place of its records.

    A marker's record is a real one.
    """
    body = marker(0 if batch.is_abort else 1) * batch.records if batch.is_control else b"x" * payload
    attributes = (0x10 if batch.is_transactional else 0) | (0x20 if batch.is_control else 0)
    after_crc = struct.pack(">hi", attributes, batch.last_offset - batch.base_offset)
    after_crc += struct.pack(">qq", 1_700_000_000_000, 1_700_000_000_000)
    after_crc += struct.pack(">qhi", batch.producer_id, 3, -1) + struct.pack(">i", batch.records) + body
    rest = struct.pack(">ibI", 7, 2, 0xDEADBEEF) + after_crc
    return struct.pack(">qi", batch.base_offset, len(rest)) + rest


def marker(kind: int) -> bytes:
    """A control record: its key is a version and a type, its value a version and the coordinator's epoch.

    Numbers are zigzag varints.
    """
    timestamp_delta = varint(300)  # two bytes, so that it must be skipped by its form
    record = (
        b"\0"
        + timestamp_delta
        + varint(0)
        + varint(4)
        + struct.pack(">hh", 0, kind)
        + varint(6)
        + struct.pack(">hi", 0, 9)
        + varint(0)
    )
    return varint(len(record)) + record


def varint(number: int) -> bytes:
    """A number that is not negative, zigzag encoded."""
    number *= 2
    written = b""
    while number > 0x7F:
        written += bytes([number & 0x7F | 0x80])
        number >>= 7
    return written + bytes([number])


def message(offset: int, version: int = 1) -> bytes:
    """A message of a format before 2."""
    rest = (
        struct.pack(">Ibb", 0xDEADBEEF, version, 0)
        + (b"" if version == 0 else struct.pack(">q", 1))
        + struct.pack(">ii", -1, -1)
    )
    return struct.pack(">qi", offset, len(rest)) + rest


def test_headers_are_read_as_kafka_writes_them() -> None:
    """Offsets, kind, producer, number of records, and which marker."""
    batches = [PLAIN, RECORDS, COMMIT, ABORT, replace(PLAIN, base_offset=15, last_offset=30, records=2)]
    assert parse(b"".join(encode(batch, payload=100) for batch in batches)) == batches


def test_a_marker_that_compaction_emptied_is_no_abort() -> None:
    """Nothing says any more which one it was."""
    emptied = replace(ABORT, records=0)
    assert parse(encode(emptied)) == [replace(emptied, is_abort=False)]


def test_records_before_an_offset_and_a_cut_off_batch_are_no_trouble() -> None:
    """An answer ends where its bytes are used up, in the middle of a batch or even of a header."""
    whole = encode(PLAIN, payload=100) + encode(RECORDS, payload=100)
    first = len(encode(PLAIN, payload=100))
    for size in range(len(whole)):
        assert parse(whole[:size]) == ([PLAIN] if size >= first else [])
    assert parse(whole + b"\0" * 12) == [PLAIN, RECORDS]


@pytest.mark.parametrize("version", [0, 1])
def test_messages_of_old_formats_are_plain(version: int) -> None:
    """Kafka before 0.11 had no transactions, and its log may still be there."""
    old = replace(PLAIN, base_offset=5, last_offset=5, records=1)
    assert parse(message(5, version) + encode(replace(PLAIN, base_offset=6, last_offset=15))) == [
        old,
        replace(PLAIN, base_offset=6, last_offset=15),
    ]


PLACE = TopicPartition("t", 0)


@dataclass
class Log:
    """A log of one topic-partition, and what it was asked for.

    `plan` holds errors and answers that come first.
    """

    batches: list[RecordBatch]
    start: int = 0
    end: int = 0
    payload: int = 1000
    plan: list[Exception | Answer] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.end = self.end or self.batches[-1].last_offset + 1

    def fetch(self, place: TopicPartition, offset: int, max_bytes: int, deadline: float) -> Answer:
        """As many bytes as are asked for, but the first batch whole."""
        assert place == PLACE
        assert deadline > time.monotonic()
        self.asked.append((offset, max_bytes))
        if self.plan:
            planned = self.plan.pop(0)
            if isinstance(planned, Exception):
                raise planned
            return planned
        if not self.start <= offset <= self.end:
            raise OutOfRangeError
        found, size = [], 0
        for batch in self.batches:
            if batch.last_offset >= offset and size < max_bytes:
                found.append(encode(batch, payload=self.payload))
                size += len(found[-1])
        return Answer(b"".join(found)[: max(max_bytes, len(found[0]) if found else 0)], self.end)

    def earliest(self, place: TopicPartition, deadline: float) -> int:
        """Where it starts."""
        assert place == PLACE
        assert deadline > time.monotonic()
        return self.start

    def transaction_start(self, place: TopicPartition, producer: int, deadline: float) -> int | None:
        """That of the one producer that has a transaction."""
        assert place == PLACE
        assert deadline > time.monotonic()
        return 5 if producer == RECORDS.producer_id else None


def reader(log: Log) -> BatchReader:
    """A reader of it."""
    return BatchReader({"bootstrap.servers": "k:9092"}, lambda _: log)


def plain(number: int, size: int = 10) -> list[RecordBatch]:
    """So many plain batches, one behind the other."""
    return [
        replace(PLAIN, base_offset=i * size, last_offset=(i + 1) * size - 1, records=size)
        for i in range(number)
    ]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock stands still, however slow the machine is, and pauses pass at once.

    What they would have been.
    """
    paused: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(time, "sleep", paused.append)
    return paused


@pytest.mark.parametrize("offset", [0, 1, 9, 10, 555, 9_999])
def test_reading_begins_at_the_batch_that_holds_the_offset(offset: int) -> None:
    """In the middle of it, too, and goes on to the end in as many answers as it takes."""
    log = Log(plain(1_000))
    assert list(reader(log).read(PLACE, offset)) == log.batches[offset // 10 :]
    assert offset > 9_000 or len(log.asked) > 3


def test_reading_begins_at_the_next_batch_if_none_holds_the_offset() -> None:
    """Compaction leaves holes between batches."""
    log = Log([PLAIN, replace(PLAIN, base_offset=50, last_offset=59)])
    assert next(reader(log).read(PLACE, 20)).base_offset == 50


def test_reading_begins_at_the_log_start_if_the_offset_is_gone() -> None:
    """Retention may be faster."""
    log = Log(plain(10), start=35)
    assert next(reader(log).read(PLACE, 5)).base_offset == 30


@pytest.mark.parametrize("offset", [100, 101, 5_000])
def test_there_is_nothing_at_the_end_or_beyond(offset: int) -> None:
    """Neither an error nor a wait."""
    log = Log(plain(10))
    assert list(reader(log).read(PLACE, offset)) == []
    assert len(log.asked) == 1


def test_calls_for_what_was_read_last_ask_nothing() -> None:
    """There may be a gap in every second batch."""
    log = Log(plain(50))
    read = reader(log).read
    assert [next(read(PLACE, offset)).base_offset for offset in (0, 20, 205, 499, 3)] == [0, 20, 200, 490, 0]
    assert len(log.asked) == 1


def test_what_was_read_is_used_for_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic may have been deleted and created again since."""
    log = Log(plain(50))
    read = reader(log).read
    next(read(PLACE, 0))
    monkeypatch.setattr(time, "monotonic", lambda: batch_reader.HELD_FOR + 1)
    next(read(PLACE, 20))
    assert [offset for offset, _ in log.asked] == [0, 20]


def test_a_jump_asks_for_little_and_reading_on_for_more() -> None:
    """Gaps that are far apart cost a few kilobytes each; a long way to a marker is read in large pieces."""
    log = Log(plain(40_000))
    read = reader(log).read
    for offset in (0, 200_000, 100_000):
        next(read(PLACE, offset))
    assert [size for _, size in log.asked] == [batch_reader.FIRST_BYTES] * 3
    log.asked.clear()
    list(read(PLACE, 300_000))
    sizes = [size for _, size in log.asked]
    assert sizes == sorted(sizes)
    assert sizes[0] == batch_reader.FIRST_BYTES
    assert sizes[-1] == batch_reader.MAX_BYTES


def test_a_slow_line_is_asked_for_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight megabytes would not come in time there."""
    clock = count(0.0, 1.5)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    log = Log(plain(1_000))
    assert len(list(reader(log).read(PLACE, 0))) == 1_000
    assert {size for _, size in log.asked} == {batch_reader.FIRST_BYTES}


def test_a_topic_that_grows_is_read_to_where_it_ended() -> None:
    """Otherwise a fast producer keeps the reader busy for ever."""
    log = Log(plain(100), payload=100_000)
    found = 0
    for _ in reader(log).read(PLACE, 0):
        found += 1
        for _ in range(3):
            last = log.batches[-1]
            log.batches.append(
                replace(last, base_offset=last.last_offset + 1, last_offset=last.last_offset + 10)
            )
            log.end += 10
    assert 100 <= found < 200


def test_what_was_written_after_the_last_answer_is_found() -> None:
    """The end that an earlier call saw is no end for the next one: a marker may have come since."""
    log = Log(plain(3))
    read = reader(log).read
    assert len(list(read(PLACE, 0))) == 3
    log.batches.append(replace(ABORT, base_offset=30, last_offset=30))
    log.end = 31
    assert list(read(PLACE, 25)) == log.batches[2:]


def test_passing_errors_are_tried_again() -> None:
    """A leader moved, a connection broke."""
    log = Log(plain(3), plan=[TransientError("no leader"), TransientError("closed")])
    assert len(list(reader(log).read(PLACE, 0))) == 3


def test_a_broker_that_does_not_answer_is_a_broker_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time-out, with the last reason."""
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    log = Log(plain(3))
    monkeypatch.setattr(log, "fetch", _always(TransientError("connection refused")))
    with pytest.raises(BrokerError, check=Code.KAFKA_UNREACHABLE.fits):
        list(reader(log).read(PLACE, 0))


def _always(error: Exception) -> Callable[..., Answer]:
    def fail(*_: Any) -> Answer:
        raise error

    return fail


def test_other_errors_are_not_tried_again() -> None:
    """A login that is refused, a topic that does not exist."""
    for error in (UnsupportedLoginError("no"), BrokerError("none")):
        log = Log(plain(3), plan=[error])
        with pytest.raises(type(error)):
            list(reader(log).read(PLACE, 0))
        assert len(log.asked) == 1


def test_an_empty_answer_is_not_the_end() -> None:
    """Of a new leader, or with storage elsewhere; only several in a row are."""
    log = Log(plain(3), plan=[Answer(b"", 30), Answer(b"", 30)])
    assert len(list(reader(log).read(PLACE, 0))) == 3
    behind = Log(plain(3), plan=[Answer(b"", 20)])
    assert len(list(reader(behind).read(PLACE, 25))) == 1
    removed = Log(plain(3), end=50)
    assert len(list(reader(removed).read(PLACE, 0))) == 3
    assert list(reader(removed).read(PLACE, 40)) == []


def test_a_quota_is_waited_for(no_pauses: list[float]) -> None:
    """As long as the broker says; an answer under a quota is empty."""
    log = Log(plain(3), plan=[Answer(b"", 30, throttled=2.5)] * 5)
    assert len(list(reader(log).read(PLACE, 0))) == 3
    assert no_pauses == [2.5] * 5
    with pytest.raises(BrokerError, check=Code.KAFKA_QUOTA.fits):
        list(reader(Log(plain(3), plan=[Answer(b"", 30, throttled=100)])).read(PLACE, 0))


def test_bytes_that_are_no_batch_are_an_error() -> None:
    """Not an end: that would hide everything behind them."""
    log = Log(plain(3), plan=[Answer(b"\0" * 100, 30)])
    with pytest.raises(BrokerError, check=Code.BATCH_DAMAGED.fits):
        list(reader(log).read(PLACE, 0))


def test_reading_needs_no_more_memory_than_one_answer() -> None:
    """Whatever the log's length."""
    log = Log(plain(20_000))
    batches: Iterable[RecordBatch] = reader(log).read(PLACE, 0)
    asked = []
    for number, _ in enumerate(batches):
        asked.append(len(log.asked))
        if number > 500:
            break
    assert asked[0] == 1  # the first batch came before the second answer was asked for
    assert asked[-1] < 6


def test_a_coordinator_is_asked_about_the_producer_of_the_batch_at_an_offset() -> None:
    """An open transaction is that of the batch with which it begins."""
    of_transaction = reader(Log([PLAIN, RECORDS]))
    assert [of_transaction.transaction_start(PLACE, offset) for offset in (10, 0, 13)] == [5, None, None]
