"""A pipeline's pair of DAGs in Airflow: how long it takes, and how long its tasks take."""

import dataclasses
import time
from datetime import UTC, datetime
from pathlib import Path

from headrace.dag_names import INGEST, VERIFY
from headrace.local.client.console import Say
from headrace.local.client.rest import Airflow
from headrace.local.embedded import stack
from headrace.settings import Settings
from tests.bench.bounds import PAIR, TASKS, Measured
from tests.bench.measure import Took

PIPELINE = "shop_orders"
SLOWEST = 300.0
"""Seconds that a pair may take, or the first parse of its file."""


def measure(settings: Settings, rounds: int, measured: Measured) -> None:
    """Run it so many times on a stack of its own, each from the trigger to the end of a green verify."""
    own = dataclasses.replace(settings, dags=settings.home / "dags")
    _copy(settings.dags, own.dags)
    stack.up(own, Say())
    try:
        with Airflow.connected(own) as api:
            deadline = time.monotonic() + SLOWEST
            while not all(api.dag(PIPELINE + kind) for kind in (VERIFY, INGEST)):
                _pause(deadline)
            for kind in (VERIFY, INGEST):
                api.unpause(PIPELINE + kind)
            for number in range(rounds):
                _one(api, number, measured)
    finally:
        stack.down(own, Say())


def _pause(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(f"{PIPELINE} was not parsed, or not verified, within {SLOWEST:.0f} s.")
    time.sleep(0.5)


def _copy(dags: Path, own: Path) -> None:
    """Without its schedule: a run of that would be in between."""
    own.mkdir()
    lines = (dags / f"{PIPELINE}.toml").read_text().splitlines(keepends=True)
    (own / f"{PIPELINE}.toml").write_text("".join(line for line in lines if not line.startswith("schedule")))
    (own / f"{PIPELINE}.py").write_bytes((dags / f"{PIPELINE}.py").read_bytes())


def _one(api: Airflow, number: int, measured: Measured) -> None:
    began = datetime.now(UTC)
    api.trigger(PIPELINE + INGEST, f"bench-{number}", {})
    deadline = time.monotonic() + SLOWEST
    while len(verified := [run for run in api.runs(PIPELINE + VERIFY) if run.is_over]) <= number:
        _pause(deadline)
    runs = [api.run(PIPELINE + INGEST, f"bench-{number}"), verified[-1]]
    if not verified[-1].ended or any(run.state != "success" for run in runs):
        raise RuntimeError(f"A run of {PIPELINE} is not green.")
    whole = (verified[-1].ended - began).total_seconds()
    tasks = sum(task.seconds or 0.0 for run in runs for task in api.tasks(run))
    print(f"  pair of DAGs: {whole:.1f} s, its tasks: {tasks:.1f} s", flush=True)
    measured.keep(PAIR, Took(whole))
    measured.keep(TASKS, Took(tasks))
