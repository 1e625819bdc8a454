"""The embedded stack with folders and ports of its own, used over REST as an outside program would."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch
from urllib.parse import quote

from headrace import documents
from headrace.kafka.client import Kafka
from headrace.ledger.entries import entries
from headrace.ledger.folder import Folder
from headrace.local.client.console import Say
from headrace.local.client.rest import Airflow, Run, Task
from headrace.local.embedded import stack
from headrace.local.embedded.layout import Layout
from headrace.local.embedded.services import Supervisor
from headrace.settings import ROOT, Settings
from headrace.verify.result import ReceiptState, Report
from tests.headrace.report.page import Page
from tests.java import QUICK_START

T = TypeVar("T")

WITHIN = 400.0
"""Seconds after which what a test waits for will not happen any more; a pair of runs takes 30 on two idle
cores."""

NEW_YEAR = "0 0 1 1 *"
"""A schedule that is one, and whose ticks fall into no test."""


@dataclass(frozen=True)
class Scheduler:
    """A running stack."""

    settings: Settings
    airflow: Airflow

    @property
    def kafka(self) -> Kafka:
        """A client of its own."""
        return Kafka({"bootstrap.servers": self.settings.bootstrap_servers})

    @property
    def supervisor(self) -> Supervisor:
        """What keeps the services running, and knows every process of the stack."""
        return Supervisor(Layout.of(self.settings).services)

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which the command is about this stack."""
        own = {
            "HEADRACE_HOME": self.settings.home,
            "HEADRACE_DATA": self.settings.data,
            "HEADRACE_DAGS": self.settings.dags,
            "HEADRACE_KAFKA_PORT": self.settings.kafka_port,
            "HEADRACE_UI_PORT": self.settings.ui_port,
        }
        return {**os.environ, **{name: str(value) for name, value in own.items()}}

    def folder(self, pipeline: str) -> Folder:
        """A pipeline's folder."""
        return Folder(self.settings.data / pipeline)

    def switch_on(self, *dags: str) -> None:
        """Wait until Airflow has read the DAGs, and let their runs start."""
        for dag in dags:
            until(f"Airflow has read {dag}", partial(self.airflow.dag, dag))
            self.airflow.unpause(dag)

    def ended(self, dag: str, run: str) -> Run:
        """The run, once it is over."""

        def over() -> Run | None:
            found = self.airflow.run(dag, run)
            return found if found.is_over else None

        return until(f"{dag} {run} is over", over)

    def task(self, run: Run, name: str) -> Task:
        """A task of a run."""
        return next(task for task in self.airflow.tasks(run) if task.name == name)

    def account_of(self, pipeline: str, run: str) -> Report:
        """The report that verified an ingest run's batch, once there is one and its verify run is over."""

        def found() -> Report | None:
            return next((each for each in self.reports(pipeline) if _verifies(each, run)), None)

        report = until(f"a report has verified {run} of {pipeline}", found)
        self.ended(f"{pipeline}_verify", report.run)
        return report

    def reports(self, pipeline: str) -> list[Report]:
        """Every report of a pipeline."""
        return [documents.read(path, Report) for path in self.folder(pipeline).reports.glob("*/report.json")]

    def slots(self, number: int) -> None:
        """Let this many tasks run at a time; those that run go on."""
        self.airflow.ask(
            "PATCH", "/api/v2/pools/default_pool?update_mask=slots", {"name": "default_pool", "slots": number}
        )

    def newest_files(self, pipeline: str) -> list[Path]:
        """Files of kept records of the newest micro-batch."""
        folder = self.folder(pipeline)
        return list(folder.published(folder.events, entries(folder)[-1].number).glob("*.parquet"))

    def tab(self, run: Run) -> str:
        """What the tab "Report" of a run shows."""
        answer = self.airflow._send("GET", f"/headrace/reports/{run.dag}/{quote(run.id, safe='')}")  # noqa: SLF001, of what is no API
        return " ".join(Page(answer.text).text.split())

    def details(self, path: str) -> dict[str, Any]:
        """What the API tells of something."""
        return self.airflow.ask("GET", f"/api/v2/{path}")


def furnish(settings: Settings, ready: Layout) -> None:
    """Make a state folder with what takes long to get from another one.

    Java, jars, and the archive of Spark's classes if it has one.
    """
    own = Layout.of(settings)
    own.spark_classes.parent.mkdir(parents=True)
    own.jars.symlink_to(ready.jars)
    if settings.java_home is None:
        own.java_home.symlink_to(ready.java_home)
        if ready.spark_classes.exists():
            own.spark_classes.symlink_to(ready.spark_classes)


@contextmanager
def running(
    base: Path, ready: Layout, kafka_port: int, ui_port: int, edit: Callable[[Path], None] = lambda _: None
) -> Iterator[Scheduler]:
    """Run a stack in `base`, with the checkout's DAGs in a folder to which tests can add.

    What takes long to get is that of `ready`.

    Args:
        edit: Changes the folder's files before Airflow reads them.
    """
    java_home = Settings.from_environment().java_home
    settings = Settings(
        base / "home",
        base / "data",
        base / "dags",
        kafka_port,
        ui_port,
        java_home,
        kafka=None,
        connection=None,
    )
    furnish(settings, ready)
    settings.dags.mkdir()
    for path in (ROOT / "dags").iterdir():
        if path.suffix in {".py", ".toml"}:
            shutil.copy(path, settings.dags)
    for path in settings.dags.glob("*.toml"):
        path.write_text(
            re.sub(r'^schedule( *= *)".*"', rf'schedule\1"{NEW_YEAR}"', path.read_text(), flags=re.MULTILINE)
        )
    edit(settings.dags)
    with patch.dict(os.environ, QUICK_START):
        stack.up(settings, Say())
    try:
        with Airflow.connected(settings) as airflow:
            yield Scheduler(settings, airflow)
    finally:
        stack.down(settings, Say())


def until(what: str, look: Callable[[], T | None], within: float = WITHIN) -> T:
    """Look until something is there, and return it. Fails saying what did not come."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
        time.sleep(0.5)
    return found


def _verifies(report: Report, run: str) -> bool:
    return any(account.run == run and account.state == ReceiptState.VERIFIED for account in report.receipts)
