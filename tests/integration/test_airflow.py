"""The DAGs in a real scheduler, on a real broker, with a real Spark. One stack serves the whole module."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest
from conftest import free_port
from scheduler import Scheduler, running, until

from headrace.contract.verdicts import Reason
from headrace.errors import Exit
from headrace.ledger.entries import entries
from headrace.ledger.identity import logged
from headrace.ledger.receipts import receipts
from headrace.local.layout import Layout
from headrace.local.rest import Run
from headrace.report.model import ReceiptState
from headrace.scaffold import write_pipeline

pytestmark = pytest.mark.timeout(900)

SHIPPED = ("important_messages", "shop_orders")
NEW = "cold_rooms"
DAGS = [f"{pipeline}_{half}" for pipeline in SHIPPED for half in ("ingest", "verify")]
QUICK = ("first", "second", "third")

PREFLIGHT = '''
"""A preflight whose connection {constant} is another one."""
from pathlib import Path
from airflow.sdk import dag
from headrace.airflow import connections
from headrace.airflow.tasks import DAG_DEFAULTS, preflight
from headrace.contract.pipeline import Pipeline

connections.{constant} = "{connection}"

@dag(dag_id="{connection}", **DAG_DEFAULTS)
def one() -> None:
    preflight(Pipeline.load(Path(__file__).with_name("important_messages.toml")))

one()
'''


@pytest.fixture(scope="module")
def scheduler(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    """A stack with both pipelines switched on, and a new one made with `headrace new` beside them."""
    with running(tmp_path_factory.mktemp("scheduler"), layout, free_port(), free_port()) as one:
        write_pipeline(one.settings.dags, NEW)
        one.switch_on(*reversed(DAGS))
        yield one


@pytest.fixture(scope="module", autouse=True)
def begun(scheduler: Scheduler) -> None:
    """The first runs, which go on while the first tests look at other things."""
    scheduler.airflow.trigger("shop_orders_ingest", "first", {"records": 300, "malformed": 0.3, "seed": 7})
    scheduler.airflow.trigger("important_messages_ingest", QUICK[0], {})
    for run in QUICK[1:]:
        scheduler.airflow.trigger("important_messages_ingest", run, {"records": 100})


@pytest.fixture(scope="module")
def tick(scheduler: Scheduler) -> datetime:
    """When the new pipeline runs, once: the minute after the next one."""
    tick = (datetime.now(UTC) + timedelta(minutes=2)).replace(second=0, microsecond=0)
    file = scheduler.settings.dags / f"{NEW}.toml"
    schedule = f'schedule = "{tick.minute} {tick.hour} {tick.day} {tick.month} *"'
    file.write_text(re.sub(r"^# schedule .*", schedule, file.read_text(), flags=re.MULTILINE))
    scheduler.switch_on(f"{NEW}_verify", f"{NEW}_ingest")
    return tick
