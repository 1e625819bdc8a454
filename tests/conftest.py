"""Unit tests open no sockets.

Tests below `integration`, and those marked `enable_socket`, use the real parts.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from xdist.scheduler import LoadScopeScheduling

from headrace.local.client.console import Say
from headrace.local.embedded import spark as local_spark
from headrace.local.embedded import stack
from headrace.local.embedded.layout import Layout
from headrace.settings import Settings
from tests.java import QUICK_START

INTEGRATION = Path(__file__).parent / "integration"

REAL = ("tests/integration/", "tests/spark_apps/")
"""Where the tests with real parts are. Those in one process share a broker and a Spark session."""
GROUPS = {
    "tests/integration/test_airflow.py": "Airflow",
    **{
        f"tests/integration/test_{name}.py": "programs"
        for name in (
            "access_lists",
            "accepting",
            "archive",
            "cluster_contract",
            "gaps",
            "kills",
            "left_on",
            "memory",
            "random_runs",
            "refusals",
            "silence",
        )
    },
}
"""Those of them that are in processes of their own: what starts programs and waits, and some others, so that
all processes take about as long. The rest shares a Spark session."""


def pytest_configure(config: pytest.Config) -> None:
    """Importing Airflow makes its home; let that be a folder that goes with the tests."""
    home = tempfile.mkdtemp(prefix="headrace-airflow-")
    os.environ["AIRFLOW_HOME"] = home
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let integration tests use sockets, and run them after the unit tests.

    But first of all begins what runs beside them, and last it must have ended.
    """
    for item in items:
        if INTEGRATION in item.path.parents:
            item.add_marker(pytest.mark.enable_socket)

    def place(item: pytest.Item) -> tuple[bool, ...]:
        is_beside = "random_runs" in getattr(item, "fixturenames", ())
        return not (is_beside and item.name.endswith("begin")), INTEGRATION in item.path.parents, is_beside

    items.sort(key=place)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Give the tests with real parts to three processes, in their order, and the others to a fourth.

    The plugin's own groups have no effect with this pytest.
    """

    class Apart(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return GROUPS.get(nodeid.partition("::")[0]) or ("Spark" if nodeid.startswith(REAL) else "units")

    return Apart(config, log)


@pytest.fixture(scope="session")
def layout() -> Layout:
    """The checkout's state folder, with Java, jars and Spark's configuration in place."""
    settings = Settings.from_environment()
    with Path(__file__).open() as mine:
        fcntl.flock(mine, fcntl.LOCK_EX)  # one process sets up, the others find it done
        stack.prepare(settings, Say())
    return Layout.of(settings)


@pytest.fixture(scope="session")
def spark_environment(layout: Layout) -> Iterator[dict[str, str]]:
    """The environment in which Spark starts, set in this process too."""
    environment = {**local_spark.environment(layout.spark_conf, layout.java_home), **QUICK_START}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@pytest.fixture(scope="session")
def spark(spark_environment: dict[str, str]) -> Iterator[SparkSession]:
    """A warm Spark session with the apps' own settings.

    Their `main` runs in it as it does under spark-submit.
    """
    assert spark_environment
    logging.getLogger("py4j").setLevel(logging.WARNING)  # it says goodbye when the log is closed already
    session = SparkSession.builder.master("local[2]").getOrCreate()
    yield session
    session.stop()
