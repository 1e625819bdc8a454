"""A real broker and a real Spark, shared by the tests of a session."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from headrace.local import kafka, spark, stack
from headrace.local.console import Say
from headrace.local.layout import Layout
from headrace.settings import Settings
from slices import TEXT, Slice


def free_port() -> int:
    """A port of 127.0.0.1 that is free, as is the one above it."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = int(first.getsockname()[1])
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except OSError:
                continue
            return port


@pytest.fixture(scope="session")
def layout() -> Layout:
    """The checkout's state folder, with Java, jars and Spark's configuration in place."""
    settings = Settings.from_environment()
    stack.prepare(settings, Say())
    return Layout.of(settings)


@pytest.fixture(scope="session")
def spark_environment(layout: Layout) -> Iterator[dict[str, str]]:
    """The environment in which Spark starts, set in this process too."""
    environment = spark.environment(layout.spark_conf, layout.java_home)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@pytest.fixture(scope="session")
def broker(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real broker's bootstrap address."""
    port = free_port()
    with kafka.broker(tmp_path_factory.mktemp("broker"), port, layout.jars, layout.java_home):
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def session(spark_environment: dict[str, str]) -> Iterator[SparkSession]:
    """A warm Spark session: the app's own `main` runs in it as it does under spark-submit."""
    assert spark_environment
    session = SparkSession.builder.master("local[2]").getOrCreate()
    yield session
    session.stop()


@pytest.fixture
def new_slice(broker: str, session: SparkSession, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Slice]:
    """Make a slice of the flow with topics and a folder of its own."""
    assert session

    def make(text: str = TEXT, name: str = "slice") -> Slice:
        return Slice.make(tmp_path, broker, name, text, topic_prefix=f"{abs(hash(request.node.nodeid)):x}-")

    return make
