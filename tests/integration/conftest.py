"""A real broker, shared by the tests of a session, and slices of the flow on it."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from pyspark.sql import SparkSession

import brokers
import guarded as guarding
from brokers import free_port
from headrace.local.embedded import archive
from headrace.local.embedded.layout import Layout
from headrace.settings import Settings
from scheduler import furnish
from slices import TEXT, Slice
from tests.java import QUICK_START


@pytest.fixture(scope="session")
def broker(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real broker's bootstrap address."""
    port = free_port()
    with brokers.broker(
        tmp_path_factory.mktemp("broker"), port, layout.jars, layout.java_home, brokers.CLEANER
    ):
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def guarded(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[guarding.Guarded]:
    """A broker whose listeners want a password, TLS, both, or nothing, with access lists."""
    with guarding.running(tmp_path_factory.mktemp("guarded"), layout) as one:
        yield one


@pytest.fixture(scope="session")
def archived(broker: str, layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A state folder with an archive of Spark's classes, made as the first green demo has it made.

    With a Java of the user's own there is none.
    """
    if Settings.from_environment().java_home:
        return layout
    own = tmp_path_factory.getbasetemp()
    base = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "archive"
    base.mkdir(exist_ok=True)
    settings = Settings.from_environment(
        {"HEADRACE_HOME": str(base / "home"), "HEADRACE_KAFKA_PORT": broker.rpartition(":")[2]}
    )
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process makes it, another finds it done
        if not Layout.of(settings).spark_classes.exists():
            _make_archive(settings, base, broker, layout)
    return Layout.of(settings)


def _make_archive(settings: Settings, base: Path, broker: str, layout: Layout) -> None:
    one = Slice.make(base, broker, "archived", TEXT, "")
    one.produce("run", records=100, malformed=0.1)
    furnish(settings, layout)
    archive.use(settings)
    with patch.dict(os.environ, {**QUICK_START, "HEADRACE_DATA": str(one.folder.root.parent)}):
        archive.make(settings, one.pipeline.path)
    assert one.ledger == []


@pytest.fixture(scope="session")
def random_runs(
    broker: str, spark_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """The process of `random_runs.py`, and its log."""
    assert spark_environment
    folder = tmp_path_factory.mktemp("random_runs")
    log = folder / "log"
    command = [
        sys.executable,
        "-W",
        "error",
        str(Path(__file__).with_name("random_runs.py")),
        str(folder),
        broker,
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    yield process, log
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def new_slice(
    broker: str, spark: SparkSession, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., Slice]:
    """Make a slice of the flow with topics and a folder of its own."""
    assert spark

    def make(text: str = TEXT, name: str = "slice") -> Slice:
        return Slice.make(tmp_path, broker, name, text, topic_prefix=f"{abs(hash(request.node.nodeid)):x}-")

    return make
