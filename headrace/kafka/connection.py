"""The connection to a cluster: getting in, waiting, and what errors mean to people."""

import logging
import re
import socket
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, BrokerMetadata

from headrace.errors import AccessError, BrokerError, Code, HeadraceError, UsageError

T = TypeVar("T")

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds for one answer of the broker."""
LOGIN_TIMEOUT = 3.0
"""Seconds for one try to get in, after which a refusal is looked for."""
UNANSWERED = {
    KafkaError._TRANSPORT,  # noqa: SLF001, that is their public name
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
    KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
}
"""Errors of the client's own: no broker has answered, whatever the reason."""
LOGIN_REFUSED = {KafkaError._AUTHENTICATION, KafkaError._SSL}  # noqa: SLF001, that is their public name
OF_BROKER = re.compile(r"(?:\w+://)?(\S+)/\d+: ")
"""How an error of the client begins that is about an advertised address: a broker's id follows it."""
PORT_TIMEOUT = 3.0
"""Seconds for a listener's port to accept."""
TRANSIENT = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
}
"""Errors that a broker answers while a topic, its leader or the broker itself is new."""
BOOTSTRAP = "bootstrap.servers"
ADVERTISED = "what the broker advertises (advertised.listeners)"
ADVICE = {
    BOOTSTRAP: "If the address is wrong, correct it in the connection kafka_default (Admin → Connections), or wherever you gave another.",
    ADVERTISED: "If it runs, this address is for clients elsewhere, such as those in its containers.",
}
"""What to do about an address at which nothing answers."""


class Connection:
    """A cluster, reached with librdkafka's settings (`bootstrap.servers` and, where needed, security).

    Every method raises `BrokerError` if the cluster does not answer within `timeout` seconds.
    """

    def __init__(self, config: Mapping[str, str], timeout: float = TIMEOUT) -> None:
        self.timeout = timeout
        self.config = {**config, "log_level": 0}
        self.servers = config["bootstrap.servers"]
        self._user = config.get("sasl.username")
        self._admin: AdminClient | None = None
        self._refusal: str | None = None
        self._failing: set[str] = set()

    @property
    def admin(self) -> AdminClient:
        """The admin client, made once a bootstrap server's port accepts connections.

        Librdkafka retries for ever, and says so each time.
        """
        if self._admin is None:
            self._admin, _ = self._connected()
        return self._admin

    def _connected(self) -> tuple[AdminClient, list[BrokerMetadata]]:
        """A new client that is connected, and the brokers of the cluster."""
        self._reach(self.servers, BOOTSTRAP)
        try:
            admin = AdminClient({**self.config, "error_cb": self._hear})
        except KafkaException as error:
            raise UsageError(
                f"Kafka's client does not take its settings: {error.args[0].str()}. They are in the extra of the connection kafka_default "
                "(or in the file that HEADRACE_KAFKA names)."
            ) from None
        return admin, self._brokers(admin)

    def check_listeners(self) -> int:
        """Reach every broker at the address it advertises; returns how many there are.

        A broker that answers at the bootstrap address and advertises another one (a container's name, say)
        fails every client later, with a time-out that does not say why.
        """
        if self._admin is None:
            self._admin, brokers = self._connected()
        else:
            brokers = self._brokers(self._admin)
        for broker in brokers:
            self._reach(f"{broker.host}:{broker.port}", ADVERTISED)
        return len(brokers)

    def _brokers(self, admin: AdminClient) -> list[BrokerMetadata]:
        """What the cluster says of its brokers.

        Raises `UsageError` if it refuses the login: trying again does not help.
        """
        began = time.monotonic()
        has_said = False
        while True:
            left = began + self.timeout - time.monotonic()
            try:
                return list(admin.list_topics(timeout=min(LOGIN_TIMEOUT, max(left, 0.1))).brokers.values())
            except KafkaException as error:
                admin.poll(0)
                if self._refusal:
                    user = (
                        f" of user {self.config['sasl.username']!r}" if "sasl.username" in self.config else ""
                    )
                    raise UsageError(
                        f"Kafka at {self.servers} refuses the login{user}: {self._refusal}. Check security.protocol, sasl.mechanism, sasl.username, "
                        "sasl.password and the ssl settings in the extra of the connection kafka_default (or in the file that HEADRACE_KAFKA names)."
                    ) from None
                if time.monotonic() - began >= self.timeout:
                    raise self._failed(error.args[0], began) from None
                if not has_said:
                    has_said = True
                    log.warning(
                        "Kafka at %s does not answer yet; retrying for up to %.0f s.",
                        self.servers,
                        self.timeout,
                    )

    def _hear(self, error: KafkaError) -> None:
        if error.code() in LOGIN_REFUSED:
            self._refusal = error.str()
        elif advertised := OF_BROKER.match(error.str()):
            self._failing.add(advertised[1])

    def _reach(self, addresses: str, what: str) -> None:
        """Raise `BrokerError` if none of the addresses can be reached.

        Args:
            what: They are, as in `ADVICE`.
        """
        if failures := _unreachable(addresses):
            raise _no_way(failures, what)

    def _ask(self, question: Callable[[], T], operation: str = "Describe", topic: str | None = None) -> T:
        """Retry transient errors until the answer is final, or the timeout is reached.

        Args:
            operation, topic: The right that the question needs.
        """
        began = time.monotonic()
        while True:
            try:
                return question()
            except KafkaException as error:
                if error.args[0].code() not in TRANSIENT or time.monotonic() - began > self.timeout:
                    raise self._failed(error.args[0], began, operation, topic) from None
            except TimeoutError:
                raise self._silent(began) from None
            time.sleep(0.1)

    def _silent(self, began: float, what: str = "") -> BrokerError:
        """The error for an answer that did not come.

        A broker that is gone differs from a silent one by its port. The client may have gone on to an
        advertised address that leads nowhere.

        Args:
            began: Since when the client has waited.
            what: What could not be done.
        """
        waited, what = f"{time.monotonic() - began:.0f} s", what and f"{what}: "
        if failures := _unreachable(self.servers):
            return BrokerError(
                f"{what}Kafka at {self.servers} is gone: it was reached {waited} ago, and now it can't be, at {', '.join(failures)}. `headrace status` shows "
                "whether the stack's own broker runs, and names its log.",
                code=Code.KAFKA_GONE,
            )
        if self._admin is not None:
            self._admin.poll(0)
        for address in sorted(self._failing):
            if failures := _unreachable(address):
                return _no_way(failures, ADVERTISED)
        return BrokerError(
            f"{what}Kafka at {self.servers} did not answer within {waited}, though its port accepts connections: the broker is frozen, overloaded "
            "or still starting, or this listener wants another security.protocol. `headrace status` asks it, and names its log.",
            code=Code.KAFKA_SILENT,
        )

    def _failed(
        self, error: KafkaError, began: float, operation: str = "Describe", topic: str | None = None
    ) -> HeadraceError:
        """What an error means to people.

        Args:
            began: Since when the client has waited.
            operation, topic: The right that was needed.
        """
        match error.code():
            case KafkaError.TOPIC_AUTHORIZATION_FAILED if topic is not None:
                return self._refused(operation, topic)
            case code if code in UNANSWERED:
                return self._silent(began)
            case code:
                return BrokerError(
                    f"Kafka at {self.servers} answered: {error.str()}"
                    if code > 0
                    else f"Kafka's client: {error.str()}"
                )

    def _refused(self, operation: str, topic: str) -> AccessError:
        return AccessError(self.servers, operation, topic, self._user)


def _no_way(failures: list[str], what: str) -> BrokerError:
    return BrokerError(
        f"Kafka can't be reached at {', '.join(failures)}, which is {what}. `headrace status` shows whether the stack's own broker runs, and "
        f"where. {ADVICE[what]}",
        code=Code.KAFKA_UNREACHABLE,
    )


def _unreachable(addresses: str) -> list[str]:
    """Why none of some addresses can be reached; empty if one can."""
    failures = []
    for address in addresses.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), PORT_TIMEOUT).close()
        except socket.gaierror:
            failures.append(f"{address} (this machine can't resolve the name {host})")
        except ConnectionRefusedError:
            failures.append(f"{address} (connection refused: nothing listens there)")
        except TimeoutError:
            failures.append(
                f"{address} (no connection within {PORT_TIMEOUT:.0f} s: what listens there is frozen, or the network drops it)"
            )
        except (OSError, ValueError) as error:
            failures.append(f"{address} ({error})")
        else:
            return []
    return failures
