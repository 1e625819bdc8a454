"""A broker that is silent, one that is frozen, and one that dies.

Each is called what it is, with the time that was waited.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

import brokers
from brokers import free_port
from headrace.contract.pipeline import Pipeline
from headrace.errors import BrokerError
from headrace.kafka import batch_reader
from headrace.kafka.client import Kafka
from headrace.kafka.cluster import Topic
from headrace.kafka.offsets import OffsetRange, TopicPartition
from headrace.ledger.folder import Folder
from headrace.local.embedded import readiness
from headrace.local.embedded.layout import Layout
from headrace.settings import ROOT, Settings
from producers import batch

TIMEOUT = 3.0
"""Seconds; half a minute otherwise."""
TOPIC = Topic("t", 1, 1, {})


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a port that accepts connections, and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_port_that_never_answers(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both clients call it silent, and say how long they waited."""
    monkeypatch.setattr(batch_reader, "TIMEOUT", TIMEOUT)
    cluster = Kafka({"bootstrap.servers": silent}, TIMEOUT)
    for question in (
        cluster.check_listeners,
        lambda: cluster.describe(["t"]),
        lambda: next(cluster.record_batches(TopicPartition("t", 0), 0)),
    ):
        began = time.monotonic()
        with pytest.raises(
            BrokerError, match=rf"^Kafka at {silent} did not answer within (\d+) s, though its port accepts"
        ) as raised:
            question()
        assert abs(time.monotonic() - began - int(str(raised.value).split(" within ")[1].split()[0])) < 2


def test_while_it_is_silent_that_is_said_once(silent: str, caplog: pytest.LogCaptureFixture) -> None:
    """Half a minute without a word looks like a command that hangs."""
    with pytest.raises(BrokerError):
        Kafka({"bootstrap.servers": silent}, 3 * TIMEOUT).topics()
    assert [record.getMessage() for record in caplog.records] == [
        f"Kafka at {silent} does not answer yet; retrying for up to 9 s."
    ]


@pytest.fixture
def own(layout: Layout, tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A broker with one record, and its process."""
    port = free_port()
    with brokers.broker(tmp_path / "broker", port, layout.jars, layout.java_home) as process:
        address = f"127.0.0.1:{port}"
        Kafka({"bootstrap.servers": address}).create([TOPIC])
        producer = Producer({"bootstrap.servers": address, "log_level": 0})
        producer.produce("t", b"1")
        assert producer.flush(30) == 0
        yield address, process
        process.send_signal(signal.SIGCONT)


def test_a_broker_that_sends_its_clients_nowhere(layout: Layout, tmp_path: Path) -> None:
    """The address is named, also where the client goes there before its first answer comes.

    That happens in one of ten tries.
    """
    port, nowhere = free_port(), free_port()
    advertised = {"advertised.listeners": f"BROKER://127.0.0.1:{nowhere}"}
    with brokers.broker(tmp_path / "broker", port, layout.jars, layout.java_home, advertised):
        for _ in range(25):
            cluster = Kafka({"bootstrap.servers": f"127.0.0.1:{port}"}, TIMEOUT)
            with pytest.raises(
                BrokerError, match=rf"at 127\.0\.0\.1:{nowhere} \(connection refused.*advertises"
            ):
                cluster.check_listeners()


def test_a_broker_that_freezes_and_one_that_dies(
    own: tuple[str, "subprocess.Popen[bytes]"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is read, while a batch is sent to it, and when `status` asks."""
    address, process = own
    config = {"bootstrap.servers": address}
    settings = Settings.from_environment(
        {"HEADRACE_HOME": str(tmp_path), "HEADRACE_KAFKA_PORT": address.rpartition(":")[2]}
    )
    monkeypatch.setattr(batch_reader, "TIMEOUT", TIMEOUT)
    monkeypatch.setitem(batch.SETTINGS, "message.timeout.ms", 3000)
    assert readiness.broker_answers(settings)

    def stop(number: int) -> Callable[..., Any]:
        def sender(settings: Mapping[str, Any]) -> Producer:
            os.kill(process.pid, number)
            return Producer(settings)

        return sender

    pipeline = Pipeline.load(ROOT / "dags" / "important_messages.toml")
    Kafka(config).create(pipeline.topics)
    monkeypatch.setattr(batch, "Producer", stop(signal.SIGSTOP))
    with pytest.raises(
        BrokerError, match=rf"^Kafka at {address} did not answer within [34] s\. .*Another try sends the rest"
    ):
        batch.produce_batch(pipeline, Folder(tmp_path / "data"), config, "run", records=10)
    assert not readiness.broker_answers(settings)
    os.kill(process.pid, signal.SIGCONT)

    cluster = Kafka(config, TIMEOUT)
    read = cluster.read(OffsetRange("t", 0, 0, 5))
    assert next(read).offsets == [0]
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(
        BrokerError, match=rf"can't be read at offset 1: Kafka at {address} did not answer within 1\d s"
    ):
        next(read)
    os.kill(process.pid, signal.SIGCONT)

    read = cluster.read(OffsetRange("t", 0, 0, 5))
    assert next(read).offsets == [0]
    process.kill()
    with pytest.raises(
        BrokerError,
        match=rf"can't be read at offset 1: Kafka at {address} is gone: it was reached \d+ s ago, .*connection refused",
    ):
        next(read)
    with pytest.raises(BrokerError, match=rf"^Kafka can't be reached at {address} \(connection refused"):
        cluster.describe(["t"])
