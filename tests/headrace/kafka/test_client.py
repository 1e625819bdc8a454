"""What records and failures look like to whoever reads, without a broker."""

import socket
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from headrace.errors import AccessError, BrokerError, Code, UsageError
from headrace.kafka import admin, connection, reader
from headrace.kafka.client import Kafka
from headrace.kafka.offsets import OffsetRange


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
    assert reader._headers(Record(headers)) == told  # noqa: SLF001


def test_a_setting_that_the_client_does_not_know_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip of the pen in the connection, not something to be tried again."""
    cluster = Kafka({"bootstrap.servers": "localhost:9092", "sasl.usrname": "somebody"})
    monkeypatch.setattr(cluster, "_reach", lambda *_: None)
    with pytest.raises(UsageError, match=r'"sasl.usrname".*kafka_default'):
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
    monkeypatch.setattr(reader, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(reader, "Consumer", PlayedConsumer)
    read = []
    for block in Kafka({"bootstrap.servers": "nowhere"}).read(OffsetRange("t", 0, 0, 3)):
        read += block.offsets
        clock[0] += 2 * connection.TIMEOUT
    assert read == [0, 1, 2]


class Clock:
    """Stands still but for waiting."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.now += seconds


CLOCK = Clock()


class PlayedAdmin:
    """Answers each question with an error of the client's, or after some seconds not at all."""

    def __init__(self, code: int) -> None:
        self.code = code

    def list_topics(self, timeout: float) -> None:
        """It takes the time that it is given."""
        CLOCK.sleep(timeout)
        raise KafkaException(KafkaError(self.code))

    def poll(self, _: float) -> None:
        """There is nothing to hear."""

    def describe_topics(self, topics: Any, **_: Any) -> dict[str, "Future[Any]"]:
        """Each topic fails."""
        futures: dict[str, Future[Any]] = {name: Future() for name in topics.topic_names}
        for future in futures.values():
            future.set_exception(KafkaException(KafkaError(self.code)))
        return futures


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Kafka]:
    """A cluster whose admin client fails with an error.

    Its clock stands still but for waiting, and its port is as is said.
    """
    for module in (admin, connection, reader):
        monkeypatch.setattr(module, "time", CLOCK)

    def play(code: int, port: Exception | None = None, **config: str) -> Kafka:
        def connect(*_: Any) -> SimpleNamespace:
            if port:
                raise port
            return SimpleNamespace(close=lambda: None)

        monkeypatch.setattr("socket.create_connection", connect)
        cluster = Kafka({"bootstrap.servers": "broker:9092", **config})
        cluster._admin = PlayedAdmin(code)  # noqa: SLF001
        return cluster

    return play


UNANSWERED = [KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN]  # noqa: SLF001, their public names


@pytest.mark.parametrize("code", UNANSWERED)
def test_a_silent_broker_is_said_to_be_silent_with_the_time_that_was_waited(
    play: Callable[..., Kafka], code: int
) -> None:
    """The client calls it a transport failure, which reads like an answer."""
    with pytest.raises(BrokerError, match=r"^Kafka at broker:9092 did not answer within 30 s") as raised:
        play(code).check_listeners()
    assert "transport failure" not in str(raised.value)


@pytest.mark.parametrize(
    ("port", "what"),
    [
        (ConnectionRefusedError(), "connection refused"),
        (socket.gaierror(), "can't resolve the name broker"),
        (TimeoutError(), "no connection within 3 s"),
    ],
)
def test_a_broker_that_is_gone_by_now_is_not_called_silent(
    play: Callable[..., Kafka], port: Exception, what: str
) -> None:
    """Its port tells the two apart, before the first question and after it."""
    cluster = play(KafkaError._TRANSPORT, port)  # noqa: SLF001
    with pytest.raises(
        BrokerError, match=rf"^Kafka at broker:9092 is gone: it was reached 30 s ago.*broker:9092 \(.*{what}"
    ):
        cluster.check_listeners()
    cluster._admin = None  # noqa: SLF001
    with pytest.raises(BrokerError, match=rf"^Kafka can't be reached at broker:9092 \(.*{what}"):
        cluster.check_listeners()


@pytest.mark.parametrize("name", ["127.0.0.1:19092/1", "sasl_ssl://127.0.0.1:19092/1"])
def test_an_advertised_address_that_leads_nowhere_is_named(
    play: Callable[..., Kafka], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The client may go there before it answers, and then it does not answer."""
    cluster = play(KafkaError._TIMED_OUT)  # noqa: SLF001
    refused = {"127.0.0.1"}

    def connect(address: tuple[str, int], _: float) -> SimpleNamespace:
        if address[0] in refused:
            raise ConnectionRefusedError
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr("socket.create_connection", connect)
    cluster._hear(KafkaError(KafkaError._TRANSPORT, f"{name}: Connect to ipv4#127.0.0.1:19092 failed"))  # noqa: SLF001
    cluster._hear(KafkaError(KafkaError._TRANSPORT, "broker:9092/bootstrap: Disconnected"))  # noqa: SLF001
    with pytest.raises(
        BrokerError, match=r"at 127.0.0.1:19092 \(.*advertises", check=Code.KAFKA_UNREACHABLE.fits
    ):
        cluster.describe(["t"])
    refused.clear()
    with pytest.raises(BrokerError, check=Code.KAFKA_SILENT.fits):
        cluster.describe(["t"])


def test_what_access_lists_refuse_is_named(play: Callable[..., Kafka]) -> None:
    """Operation, resource and user, as attributes too, and the command that grants it."""
    with pytest.raises(
        AccessError,
        match=r"^User app may not Describe topic orders: .*--allow-principal User:app --operation Describe --topic orders$",
    ) as raised:
        play(KafkaError.TOPIC_AUTHORIZATION_FAILED, **{"sasl.username": "app"}).describe(["orders"])
    assert (raised.value.operation, raised.value.topic, raised.value.user) == ("Describe", "orders", "app")


class SilentConsumer(PlayedConsumer):
    """Gives nothing, as with a broker that is frozen."""

    def consume(self, _: int, timeout: float) -> list[Record]:
        """Nothing."""
        CLOCK.sleep(timeout)
        return []

    def get_watermark_offsets(self, _: Any, timeout: float) -> None:
        """Nothing either."""
        CLOCK.sleep(timeout)
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001


def test_a_broker_that_falls_silent_while_it_is_read_is_named_with_the_place(
    play: Callable[..., Kafka], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader gets a last chance to say where its log ends, and that time counts."""
    monkeypatch.setattr(reader, "Consumer", SilentConsumer)
    cluster = play(KafkaError._TRANSPORT)  # noqa: SLF001
    with pytest.raises(
        BrokerError,
        match=r"^t-0 .*can't be read at offset 5: Kafka at broker:9092 did not answer within 40 s",
    ):
        list(cluster.read(OffsetRange("t", 0, 5, 9)))


class Refusal:
    """What the client says, in place of a record, of a group that it may not look at."""

    def error(self) -> KafkaError:
        """Why."""
        return KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)


class RefusedConsumer(PlayedConsumer):
    """May not look at its group."""

    def consume(self, number: int, timeout: float) -> list[Any]:
        """That, and the next record."""
        return [Refusal(), *super().consume(number, timeout)]


def test_no_right_on_a_group_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read or committed by way of the group, and the refusal comes now and then only.

    A slow answer would make a run red.
    """
    monkeypatch.setattr(reader, "Consumer", RefusedConsumer)
    blocks = Kafka({"bootstrap.servers": "nowhere"}).read(OffsetRange("t", 0, 0, 3))
    assert [offset for block in blocks for offset in block.offsets] == [0, 1, 2]
