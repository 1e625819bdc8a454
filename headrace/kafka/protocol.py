"""Kafka's protocol below the consumer: Fetch answers with record batches as they are in the log.

Of kafka-python the requests, the framing and SASL are used; the connection is a plain blocking socket, with
Python's own TLS. Its manager of connections would try a refused login again until the time is up, and not say
why.
"""

import logging
import socket
import ssl
import time
import warnings
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from headrace.errors import AccessError, BrokerError
from headrace.kafka.batch_reader import Answer, OutOfRangeError, SilentError, TransientError
from headrace.kafka.login import Login
from headrace.kafka.offsets import TopicPartition

with warnings.catch_warnings():
    # Of importlib.resources.read_text, which Python 3.13 took back.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.errors import KafkaError, for_code
    from kafka.net.sasl import get_sasl_mechanism
    from kafka.protocol.admin import DescribeTransactionsRequest, ListTransactionsRequest
    from kafka.protocol.consumer import FetchRequest, ListOffsetsRequest
    from kafka.protocol.metadata import MetadataRequest
    from kafka.protocol.parser import KafkaProtocol
    from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest

# What matters is raised; it warns of each SASL login without TLS.
logging.getLogger("kafka").setLevel(logging.CRITICAL)

FETCH, LIST_OFFSETS, METADATA, SASL_HANDSHAKE, SASL_AUTHENTICATE, TRANSACTIONS = 4, 1, 4, 1, 0, 0
"""Versions of the requests. Kafka 2.8 to 4.4 know them all, those about transactions from 3.0 on. Fetch 13
would want topic ids; Metadata before 4 would create topics."""
EARLIEST = -2

CONNECT_TIMEOUT = 3.0
"""Seconds for a listener's port to accept."""
MAX_WAIT = 0.5
"""Seconds that a broker may wait for something to send."""
RECEIVE_BYTES = 1 << 20
MAX_ANSWER = 2**31 - 1
"""Bytes. A broker answers with at least one batch, however large its topic allows it to be."""

OFFSET_OUT_OF_RANGE = 1
TOPIC_REFUSED = 29
TRANSIENT = {5, 6, 7, 9, 14, 15, 16, 56, 74, 75, 78}
"""No leader, not the leader, time-out, no replica, three of coordinators, storage, two of leader epochs,
offset not available."""
UNKNOWN_TRANSACTION = {53, 105}
"""This client may not describe it, or it is over by now."""


class Brokers:
    """A cluster, reached with librdkafka's settings.

    Raises `UnsupportedLoginError` for a setting about security that has no counterpart here, and for a login
    that is refused.
    """

    def __init__(self, config: Mapping[str, object]) -> None:
        self._servers = str(config["bootstrap.servers"])
        self._login = Login(config)
        self._connections: dict[tuple[str, int], Connection] = {}
        self._leaders: dict[TopicPartition, tuple[str, int]] = {}
        weakref.finalize(self, _close, self._connections)

    def fetch(self, place: TopicPartition, offset: int, max_bytes: int, deadline: float) -> Answer:
        """Fetch from the partition's leader.

        Level 1 would stop at the last stable offset; an abort marker may lie behind it.
        """
        request = FetchRequest(
            version=FETCH,
            replica_id=-1,
            max_wait_ms=int(MAX_WAIT * 1000),
            min_bytes=1,
            max_bytes=max_bytes,
            isolation_level=0,
            topics=[(place.topic, [(place.partition, offset, max_bytes)])],
        )
        response, answer = self._ask_leader(place, request, deadline)
        return Answer(bytes(answer.records or b""), answer.high_watermark, response.throttle_time_ms / 1000)

    def earliest(self, place: TopicPartition, deadline: float) -> int:
        """The offset at which the log starts."""
        request = ListOffsetsRequest(
            version=LIST_OFFSETS, replica_id=-1, topics=[(place.topic, [(place.partition, EARLIEST)])]
        )
        _, answer = self._ask_leader(place, request, deadline)
        return int(answer.offset)

    def transaction_start(self, place: TopicPartition, producer: int, deadline: float) -> int | None:
        """When the open transaction of a producer id in a partition began, in milliseconds since 1970.

        `None` if no coordinator knows one.

        Each broker coordinates some of the transactions, and lists the ones that the client may describe.
        """
        with self._forgetting(place):
            request = MetadataRequest(version=METADATA, topics=[], allow_auto_topic_creation=False)
            for broker in self._bootstrap(deadline).ask(request, deadline).brokers:
                connection = self._connection((broker.host, broker.port), deadline)
                wanted = ListTransactionsRequest(
                    version=TRANSACTIONS, state_filters=[], producer_id_filters=[producer]
                )
                listed = connection.ask(wanted, deadline)
                self._check(listed.error_code, "its transactions")
                names = [each.transactional_id for each in listed.transaction_states]
                request = DescribeTransactionsRequest(version=TRANSACTIONS, transactional_ids=names)
                states = connection.ask(request, deadline).transaction_states if names else ()
                for state in states:
                    self._check(
                        0 if state.error_code in UNKNOWN_TRANSACTION else state.error_code,
                        f"transaction {state.transactional_id}",
                    )
                    if any(
                        each.topic == place.topic and place.partition in each.partitions
                        for each in state.topics
                    ):
                        return int(state.transaction_start_time_ms)
        return None

    def _ask_leader(self, place: TopicPartition, request: Any, deadline: float) -> tuple[Any, Any]:
        """The leader's answer to a request about one partition, whole and the partition's part."""
        with self._forgetting(place):
            response = self._connection(self._leader(place, deadline), deadline).ask(request, deadline)
            (of_topic,) = response.responses if isinstance(request, FetchRequest) else response.topics
            (answer,) = of_topic.partitions
            self._check(
                answer.error_code,
                str(place),
                "Read" if isinstance(request, FetchRequest) else "Describe",
                place.topic,
            )
        return response, answer

    def _leader(self, place: TopicPartition, deadline: float) -> tuple[str, int]:
        if place not in self._leaders:
            request = MetadataRequest(
                version=METADATA, topics=[(place.topic,)], allow_auto_topic_creation=False
            )
            response = self._bootstrap(deadline).ask(request, deadline)
            (facts,) = response.topics
            self._check(facts.error_code, f"topic {place.topic}", "Describe", place.topic)
            leaders = {each.partition_index: each.leader_id for each in facts.partitions}
            if place.partition not in leaders:
                raise BrokerError(f"Kafka at {self._servers} has no {place}.")
            addresses = {broker.node_id: (broker.host, broker.port) for broker in response.brokers}
            if leaders[place.partition] not in addresses:
                raise TransientError(f"{place} has no leader")
            self._leaders[place] = addresses[leaders[place.partition]]
        return self._leaders[place]

    def _bootstrap(self, deadline: float) -> "Connection":
        failures = []
        for server in self._servers.split(","):
            host, _, port = server.strip().rpartition(":")
            try:
                return self._connection((host.strip("[]"), int(port)), deadline)
            except ssl.SSLError:
                raise  # no matter which server: they are one cluster
            except (OSError, ValueError) as error:
                failures.append(f"{server} ({error})")
        raise TransientError(", ".join(failures))

    def _connection(self, address: tuple[str, int], deadline: float) -> "Connection":
        if address not in self._connections:
            self._connections[address] = Connection(address, self._login, deadline)
        return self._connections[address]

    def _check(self, code: int, where: str, operation: str = "", topic: str = "") -> None:
        """Raise the error that a code stands for.

        Args:
            operation, topic: The right that was needed.
        """
        if code == OFFSET_OUT_OF_RANGE:
            raise OutOfRangeError
        if code == TOPIC_REFUSED:
            raise AccessError(self._servers, operation, topic, self._login.username or None)
        if code in TRANSIENT:
            raise TransientError(f"{where}: {_named(code)}")
        if code:
            raise BrokerError(f"Kafka at {self._servers} answered for {where}: {_named(code)}")

    @contextmanager
    def _forgetting(self, place: TopicPartition) -> Iterator[None]:
        """After a failure, connect again and ask again who the leader is.

        A broken connection may heal; a refused login does not.
        """
        try:
            yield
        except ssl.SSLError as error:
            self._forget(place)
            if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                raise TransientError(str(error)) from error
            # TLS 1.3 says with the first answer that it refuses a certificate.
            self._login.refuse(f"TLS failed: {error}")
        except TimeoutError as error:
            self._forget(place)
            raise SilentError(str(error)) from error
        except (TransientError, OSError, KafkaError) as error:
            self._forget(place)
            raise TransientError(str(error) or type(error).__name__) from error

    def _forget(self, place: TopicPartition) -> None:
        self._leaders.pop(place, None)
        _close(self._connections)


class Connection:
    """One logged-in connection to a broker; requests are answered one after the other.

    Raises `OSError` (TLS included) and kafka-python's errors if it breaks, `UnsupportedLoginError` if the
    login is refused.
    """

    def __init__(self, address: tuple[str, int], login: "Login", deadline: float) -> None:
        self._protocol = KafkaProtocol(client_id=login.client_id, receive_message_max_bytes=MAX_ANSWER)
        self._socket = socket.create_connection(address, timeout=min(CONNECT_TIMEOUT, _left(deadline)))
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if login.tls:
                self._socket.settimeout(_left(deadline))
                self._socket = login.tls.wrap_socket(self._socket, server_hostname=address[0])
            if login.mechanism:
                self._log_in(login, address[0], deadline)
        except BaseException:
            self.close()
            raise

    def ask(self, request: Any, deadline: float) -> Any:
        """Send a request, and return its answer."""
        self._protocol.send_request(request)
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(self._protocol.send_bytes())
        while True:
            self._socket.settimeout(_left(deadline))
            if not (data := self._socket.recv(RECEIVE_BYTES)):
                raise ConnectionError("Kafka closed the connection")
            for _, response in self._protocol.receive_bytes(data):
                return response

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _log_in(self, login: "Login", host: str, deadline: float) -> None:
        response = self.ask(SaslHandshakeRequest(version=SASL_HANDSHAKE, mechanism=login.mechanism), deadline)
        if response.error_code:
            login.refuse(f"{_named(response.error_code)}; the broker offers {', '.join(response.mechanisms)}")
        mechanism = get_sasl_mechanism(login.mechanism)(
            host=host,
            security_protocol=login.protocol,
            sasl_mechanism=login.mechanism,
            sasl_plain_username=login.username,
            sasl_plain_password=login.password,
        )
        while not mechanism.is_done():
            answer = self.ask(
                SaslAuthenticateRequest(version=SASL_AUTHENTICATE, auth_bytes=mechanism.auth_bytes()),
                deadline,
            )
            if answer.error_code:
                login.refuse(f"{_named(answer.error_code)} ({answer.error_message})")
            try:
                mechanism.receive(answer.auth_bytes)
            except (KeyError, ValueError) as error:
                login.refuse(f"the broker's answer to {login.mechanism} is wrong: {error}")
        if not mechanism.is_authenticated():
            login.refuse(f"{login.mechanism} did not succeed")


def _named(code: int) -> str:
    """What Kafka calls an error."""
    error = for_code(code)
    return (
        f"{error.message} ({error.description})" if getattr(error, "description", "") else str(error.__name__)
    )


def _left(deadline: float) -> float:
    """Seconds that are left, for a socket. Raises `TimeoutError` if there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


def _close(connections: dict[tuple[str, int], Connection]) -> None:
    for connection in connections.values():
        connection.close()
    connections.clear()
