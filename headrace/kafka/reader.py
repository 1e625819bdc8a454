"""The records of a cluster, read as a consumer does."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as ClientPartition

from headrace.errors import AccessError, BrokerError, Code, HeadraceError
from headrace.kafka.cluster import Block
from headrace.kafka.connection import Connection
from headrace.kafka.offsets import OffsetRange, Offsets, TopicPartition

PartT = TypeVar("PartT")

MAX_SILENCE = 1800.0
"""Seconds for which a leader that answers may send nothing: the client passes over the records of an aborted
transaction in silence."""
ANSWER_TIMEOUT = 10.0
"""Seconds in which a leader that sends nothing must say where its log ends."""
QUEUE_BACKOFF = 5
"""Milliseconds until the client fetches again after its queue was full; its default of a second stalls."""
BLOCK_RECORDS = 50_000
BLOCK_BYTES = 64 << 20
"""A block holds at most this many records, and about this many bytes."""


class Reader(Connection):
    """A cluster's records."""

    def first_timestamps(self, offsets: Offsets) -> dict[TopicPartition, int]:
        """The timestamp of the first record at or after an offset, in milliseconds since 1970 (UTC).

        Aborted and open ones included.

        A partition without such a record is absent. One consumer asks for all of them.
        """
        found: dict[TopicPartition, int] = {}
        missing = set(offsets)
        if not missing:
            return found
        consumer = Consumer(
            self._reading(committed=False)
            | {
                "auto.offset.reset": "earliest",  # retention may have removed an offset meanwhile
                "fetch.message.max.bytes": 64 << 10,
                "queued.min.messages": 1,
            }
        )
        try:
            consumer.assign([ClientPartition(*place, offset) for place, offset in offsets.items()])
            silent_since = time.monotonic()
            while missing:
                for message in _of_topics(consumer.consume(1_000, timeout=0.1)):
                    place = TopicPartition(str(message.topic()), int(message.partition() or 0))
                    error = message.error()
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001, that is its public name
                        raise self._unreadable(error, f"{place} can't be read", silent_since, message.topic())
                    if place in missing:
                        silent_since = time.monotonic()
                        missing.discard(place)
                        consumer.pause([ClientPartition(*place)])
                        if error is None:
                            found[place] = message.timestamp()[1]
                if time.monotonic() - silent_since > self.timeout:
                    raise self._silent(silent_since)
        finally:
            consumer.close()
        return found

    def read(self, offset_range: OffsetRange, *, committed: bool = True) -> Iterator[Block]:
        """The records of a range, in blocks of bounded size.

        Offsets that hold no record for such a reader are passed over.

        Raises `BrokerError` if the range is not there to be read to its end.
        """
        at, until = offset_range.from_offset, offset_range.until_offset
        consumer = Consumer(
            self._reading(committed=committed) | {"queued.max.messages.kbytes": BLOCK_BYTES >> 10}
        )
        try:
            consumer.assign([ClientPartition(*offset_range.place, at)])
            silent_since = heard_at = time.monotonic()
            while at < until:
                records: list[Message] = []
                for message in _of_topics(consumer.consume(min(BLOCK_RECORDS, until - at), timeout=0.1)):
                    silent_since = heard_at = time.monotonic()
                    error = message.error()
                    if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001, that is its public name
                        at = message.offset() + (error is None)
                        if error is None and message.offset() < until:
                            records.append(message)
                    else:
                        raise self._unreadable(
                            error,
                            f"{offset_range} can't be read at offset {at}",
                            silent_since,
                            offset_range.topic,
                        )
                if records:
                    yield _block(offset_range.place, records)
                    silent_since = heard_at = time.monotonic()  # the caller may have taken its time
                if time.monotonic() - heard_at > self.timeout:
                    what = f"{offset_range} can't be read at offset {at}"
                    if not _answers(consumer, offset_range.place):
                        raise self._silent(silent_since, what)
                    if (waited := time.monotonic() - silent_since) > MAX_SILENCE:
                        raise BrokerError(
                            f"{what}: Kafka at {self.servers} answers, but has sent nothing for {waited:.0f} s.",
                            code=Code.KAFKA_SILENT,
                        )
                    heard_at = time.monotonic()
        finally:
            consumer.close()

    def _reading(self, *, committed: bool) -> dict[str, object]:
        return {
            "group.id": "headrace-reader",  # the client wants one; it is not joined, and nothing is committed under it
            **self.config,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": QUEUE_BACKOFF,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
        }

    def _unreadable(self, error: KafkaError, what: str, began: float, topic: str | None) -> HeadraceError:
        known = self._failed(error, began, "Read", topic)
        return (
            known
            if isinstance(known, AccessError)
            else BrokerError(f"{what}: {known}", code=known.code, topic=topic)
        )


def _of_topics(messages: Iterable[Message]) -> Iterator[Message]:
    """Leave out that access lists do not let the client look at its group, which is not used."""
    return (
        message
        for message in messages
        if (error := message.error()) is None or error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED
    )


def _answers(consumer: Consumer, place: TopicPartition) -> bool:
    """Whether a partition's leader answers at all."""
    try:
        consumer.get_watermark_offsets(ClientPartition(*place), timeout=ANSWER_TIMEOUT)
    except KafkaException:
        return False
    return True


def _block(place: TopicPartition, records: list[Message]) -> Block:
    return Block(
        *place,
        offsets=[record.offset() for record in records],
        timestamps=_OnDemand(records, lambda record: record.timestamp()[1]),
        keys=[record.key() for record in records],
        values=[record.value() for record in records],
        headers=_OnDemand(records, _headers),
    )


class _OnDemand(Sequence[PartT]):
    """One part of each record, made when asked for: the client is slow to make it, and few are needed."""

    def __init__(self, records: Sequence[Message], ask: Callable[[Message], PartT]) -> None:
        self._records = records
        self._ask = ask

    def __getitem__(self, at: Any) -> Any:
        found = self._records[at]
        return [self._ask(each) for each in found] if isinstance(at, slice) else self._ask(found)

    def __len__(self) -> int:
        return len(self._records)


def _headers(record: Message) -> list[tuple[str, bytes | None]] | None:
    try:
        return record.headers() or []
    except (UnicodeError, SystemError):
        return None
