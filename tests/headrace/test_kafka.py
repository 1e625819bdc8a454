"""What records look like to the reader, without a broker."""

from types import SimpleNamespace
from typing import Any

import pytest

from headrace import kafka
from headrace.errors import MistakeError
from headrace.ledger.ranges import OffsetRange


class Record:
    """A record whose headers are what is given, or can't be told."""

    def __init__(self, headers: Any = None, offset: int = 0) -> None:
        self._headers = headers
        self._offset = offset

    def offset(self) -> int:
        """Where it is."""
        return self._offset

    def error(self) -> None:
        """It came whole."""

    def key(self) -> None:
        """It has none."""

    def value(self) -> None:
        """Nor a value."""

    def timestamp(self) -> tuple[int, int]:
        """Kind and milliseconds."""
        return (1, 1000)

    def headers(self) -> Any:
        """As the client tells them."""
        if isinstance(self._headers, Exception):
            raise self._headers
        return self._headers


@pytest.mark.parametrize(("headers", "told"), [
    (None, []),
    ([("trace", b"1"), ("empty", None)], [("trace", b"1"), ("empty", None)]),
    (UnicodeDecodeError("utf-8", b"caf\xe9", 3, 4, "invalid continuation byte"), None),
    (SystemError("returned a result with an exception set"), None),
])  # fmt: skip
def test_headers_that_the_client_can_not_tell_stop_nothing(headers: Any, told: Any) -> None:
    """Producers may write any bytes as a header's name, and the client takes only text."""
    assert kafka._headers(Record(headers)) == told  # noqa: SLF001


def test_a_setting_that_the_client_does_not_know_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip of the pen in the connection, not something to be tried again."""
    cluster = kafka.Kafka({"bootstrap.servers": "localhost:9092", "sasl.usrname": "somebody"})
    monkeypatch.setattr(cluster, "_knock", lambda *_: None)
    with pytest.raises(MistakeError, match=r'"sasl.usrname".*kafka_default'):
        cluster.check_listeners()


class PlayedConsumer:
    """Gives one record at a time."""

    def __init__(self, _: Any) -> None:
        self._next = 0

    def assign(self, _: Any) -> None:
        """It is the only one."""

    def consume(self, _: int, timeout: float) -> list[Record]:
        """The next record."""
        assert timeout > 0
        self._next += 1
        return [Record(offset=self._next - 1)]

    def close(self) -> None:
        """Nothing is open."""


def test_who_takes_long_with_a_block_is_not_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the time between asking and answer is the broker's silence."""
    clock = [0.0]
    monkeypatch.setattr(kafka, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(kafka, "Consumer", PlayedConsumer)
    read = []
    for block in kafka.Kafka({"bootstrap.servers": "nowhere"}).read(OffsetRange("t", 0, 0, 3)):
        read += block.offsets
        clock[0] += 2 * kafka.PATIENCE
    assert read == [0, 1, 2]
