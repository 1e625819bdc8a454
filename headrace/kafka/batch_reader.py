"""Record batches as they lie in Kafka's log.

What a consumer never sees, markers and aborted records included.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

from headrace.errors import BrokerError, Code
from headrace.kafka.offsets import TopicPartition
from headrace.kafka.record_batch import RecordBatch, parse

T = TypeVar("T")

TIMEOUT = 30.0
"""Seconds for one answer of the broker, tries that failed included."""
PAUSE = 0.1
"""Seconds between two tries."""
FIRST_BYTES = 64 << 10
MAX_BYTES = 8 << 20
"""Bytes to ask for: few after a jump, doubled while reading on."""
QUICK = 1.0
"""Seconds: what takes longer is not doubled, so that an answer comes in time over a slow line too."""
EMPTY_TRIES = 3
"""Empty answers in a row, each after a wait of half a second, that are believed: a new leader does not know
the log's end yet."""
HELD_FOR = 5.0
"""Seconds in which an answer serves further calls; not for longer, because a topic may be deleted and created
again."""


@dataclass(frozen=True)
class Answer:
    """A broker's answer to one Fetch request.

    Attributes:
        data: Record batches; the first is whole, and may begin before the offset that was asked for.
        high_watermark: The end of the log for consumers.
        throttled: Seconds that a quota holds the client back; there are no data then.
    """

    data: bytes
    high_watermark: int
    throttled: float = 0.0


class OutOfRangeError(Exception):
    """The offset is before the log's start or beyond its end."""


class TransientError(Exception):
    """It may work in a moment: a connection broke, or a partition has no leader."""


class SilentError(TransientError):
    """A connection is there, and no answer came through it in time."""


class Leaders(Protocol):
    """What `BatchReader` needs of a cluster; `protocol.Brokers` is the real one.

    All raise `TransientError` if trying again may help, `BrokerError` and `UnsupportedLoginError` if not.
    `deadline` is in seconds of `time.monotonic`.
    """

    def fetch(self, place: TopicPartition, offset: int, max_bytes: int, deadline: float) -> Answer:
        """Fetch from the partition's leader, with isolation level 0. Raises `OutOfRangeError`."""

    def earliest(self, place: TopicPartition, deadline: float) -> int:
        """The offset at which the log starts."""

    def transaction_start(self, place: TopicPartition, producer: int, deadline: float) -> int | None:
        """When the open transaction of a producer id in a partition began, in milliseconds since 1970.

        `None` if no coordinator knows one.
        """


@dataclass(frozen=True)
class _Held:
    """An answer, when it came, and how many seconds it took.

    It has everything that the log holds from `start` (inclusive) to `end` (exclusive).
    """

    place: TopicPartition
    start: int
    end: int
    batches: list[RecordBatch]
    high_watermark: int
    took: float = 0.0
    at: float = 0.0


class BatchReader:
    """Reads record batches of a cluster, given librdkafka's settings. Not for several threads at once.

    Holds one answer (at most `MAX_BYTES`, or one batch if that is larger) and answers calls for offsets
    within it from memory, so a call per gap is cheap.

    Args:
        config: librdkafka's settings.
        connect: how to reach the cluster; by default with kafka-python.
    """

    def __init__(
        self, config: Mapping[str, object], connect: Callable[[Mapping[str, object]], Leaders] | None = None
    ) -> None:
        self._config = config
        self._connect = connect or _brokers
        self._leaders: Leaders | None = None
        self._held: _Held | None = None
        self._max_bytes = FIRST_BYTES

    def read(self, place: TopicPartition, offset: int) -> Iterator[RecordBatch]:
        """Batches from the one that holds `offset` on, or from the next one, up to the log's end.

        Raises `BrokerError` if the cluster does not answer within `TIMEOUT`, and `UnsupportedLoginError` if
        this client cannot log in.
        """
        end: int | None = None
        while end is None or offset < end:
            held = self._from_memory(place, offset)
            if held is None:
                held = self._fetch(place, offset)
                end = held.high_watermark if end is None else end
            first = bisect_left(held.batches, offset, key=lambda batch: batch.last_offset)
            yield from islice(held.batches, first, None)
            if not held.batches:
                return
            offset = held.end

    def transaction_start(self, place: TopicPartition, offset: int) -> int | None:
        """When the open transaction that holds an offset began, by its coordinator (ms since 1970).

        Raises like `read`.
        """
        deadline = time.monotonic() + TIMEOUT
        first = next(self.read(place, offset), None)
        if first is None:
            return None
        return self._retried(
            lambda leaders: leaders.transaction_start(place, first.producer_id, deadline), deadline
        )

    def _from_memory(self, place: TopicPartition, offset: int) -> _Held | None:
        held = self._held
        if held is None or held.place != place or time.monotonic() - held.at > HELD_FOR:
            return None
        return held if held.start <= offset < held.end else None

    def _fetch(self, place: TopicPartition, offset: int) -> _Held:
        begun = time.monotonic()
        deadline = begun + TIMEOUT
        self._max_bytes = self._size(place, offset)
        empty = 0
        while True:
            try:
                answer = self._ask(place, offset, deadline)
            except OutOfRangeError:
                start = self._retried(lambda leaders: leaders.earliest(place, deadline), deadline)
                if offset >= start:  # at or beyond the end
                    return _Held(place, offset, offset, [], offset)
                offset = start
                continue
            batches = [batch for batch in parse(answer.data) if batch.last_offset >= offset]
            if batches:
                now = time.monotonic()
                self._held = _Held(
                    place,
                    offset,
                    batches[-1].last_offset + 1,
                    batches,
                    answer.high_watermark,
                    now - begun,
                    now,
                )
                return self._held
            if answer.data:
                raise BrokerError(
                    f"{place}: what Kafka sends for offset {offset} holds no whole record batch.",
                    code=Code.BATCH_DAMAGED,
                    **place._asdict(),
                    offset=offset,
                )
            if answer.throttled:
                if time.monotonic() + answer.throttled > deadline:
                    raise BrokerError(
                        f"{place}: a Kafka quota throttles this client for {answer.throttled:.0f} s.",
                        code=Code.KAFKA_QUOTA,
                    )
                time.sleep(answer.throttled)
                continue
            empty += 1
            if offset == answer.high_watermark or empty == EMPTY_TRIES:
                return _Held(place, offset, offset, [], offset)

    def _size(self, place: TopicPartition, offset: int) -> int:
        """Bytes to ask for next."""
        held = self._held
        if held is None or held.place != place or not held.end <= offset <= 2 * held.end - held.start:
            return FIRST_BYTES
        return min(2 * self._max_bytes, MAX_BYTES) if held.took < QUICK else self._max_bytes

    def _ask(self, place: TopicPartition, offset: int, deadline: float) -> Answer:
        return self._retried(
            lambda leaders: leaders.fetch(place, offset, self._max_bytes, deadline), deadline
        )

    def _retried(self, question: Callable[[Leaders], T], deadline: float) -> T:
        if self._leaders is None:
            self._leaders = self._connect(self._config)
        while True:
            try:
                return question(self._leaders)
            except TransientError as error:
                if time.monotonic() + PAUSE > deadline:
                    waited = f"{TIMEOUT + time.monotonic() - deadline:.0f} s"
                    servers = self._config["bootstrap.servers"]
                    if isinstance(error, SilentError):
                        raise BrokerError(
                            f"Kafka at {servers} did not answer within {waited}, though its port accepts connections: the broker is frozen, overloaded or still starting.",
                            code=Code.KAFKA_SILENT,
                        ) from error
                    raise BrokerError(
                        f"Kafka at {servers} could not be asked for {waited}: {error}",
                        code=Code.KAFKA_UNREACHABLE,
                    ) from error
            time.sleep(PAUSE)


def _brokers(config: Mapping[str, object]) -> Leaders:
    from headrace.kafka.protocol import Brokers  # noqa: PLC0415, it takes 0.3 s to import, and most runs have no gap

    return Brokers(config)
