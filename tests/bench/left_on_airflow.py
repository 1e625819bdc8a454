"""What a stack that is left on takes after so many runs of a pipeline.

On disk, in memory, and of time per run.

    make up && PYTHONPATH=. .venv/bin/python tests/bench/left_on_airflow.py important_messages 50 100 150 200

Each run is an ingest of --records records and the verify run that follows; the next ingest starts as soon as
one has ended. The stack keeps logs of tasks and rows of Airflow's database for a day at least and tidies up
once a day: here it does so every --keep minutes and takes what is older than that for too old, so that what
is kept is reached within the bench. Write `[retention]` into the pipeline file for its reports and receipts.
Prints the median seconds of the runs since the line before, what all services hold in memory, and what is on
disk. Files of Kafka are beside it: they hold the records.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from headrace.dag_names import INGEST, VERIFY
from headrace.durations import UNITS
from headrace.ledger.folder import Folder
from headrace.local.client.rest import Airflow, Run
from headrace.local.embedded import airflow, housekeeping
from headrace.local.embedded.layout import MARK, Layout
from headrace.local.embedded.services import processes_with
from headrace.settings import Settings

LOOK = 0.5
"""Seconds between two looks."""
SLOWEST = 600.0
"""Seconds that a run may take."""


def ended(look: Callable[[], bool]) -> None:
    """Wait."""
    deadline = time.monotonic() + SLOWEST
    while not look():
        if time.monotonic() > deadline:
            sys.exit(f"Not over within {SLOWEST:.0f} s.")
        time.sleep(LOOK)


def green(run: Run) -> bool:
    """Whether a run is over; a red one ends the bench."""
    if run.is_over and run.state != "success":
        sys.exit(f"{run.dag} {run.id} is {run.state}.")
    return run.is_over


def on_disk(path: Path) -> tuple[int, int]:
    """Bytes and files; what vanishes meanwhile is not counted."""
    size = count = 0
    for folder, _, names in (
        os.walk(path) if path.is_dir() else [(path.parent, (), [path.name] if path.exists() else [])]
    ):
        for name in names:
            try:
                size += (Path(folder) / name).lstat().st_size
                count += 1
            except FileNotFoundError:
                continue
    return size, count


def held(layout: Layout) -> float:
    """What the services hold in memory, in MB; what several share is counted once."""
    total = 0
    for process in processes_with(MARK, str(layout.services)):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1_000_000


def main() -> None:
    """Run, and print at each of the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pipeline")
    parser.add_argument("runs", type=int, nargs="+", help="after how many runs to print")
    parser.add_argument("--records", type=int, default=100, help="in each batch")
    parser.add_argument("--keep", type=float, default=10.0, help="minutes for which logs and rows are kept")
    options = parser.parse_args()
    settings = Settings.from_environment()
    layout, folder = Layout.of(settings), Folder(settings.data / options.pipeline)
    environment = {**os.environ, **airflow.environment(settings)}
    ingest, verify = options.pipeline + INGEST, options.pipeline + VERIFY
    with Airflow.connected(settings) as api:
        for dag in (verify, ingest):
            api.unpause(dag)
        times: list[float] = []
        tidied = time.monotonic()
        for number in range(1, max(options.runs) + 1):
            run = f"left_on__{time.time_ns()}"
            began = time.monotonic()
            api.trigger(ingest, run, {"records": options.records})
            ended(lambda: green(api.run(ingest, run)))  # noqa: B023  called at once
            times.append(time.monotonic() - began)
            if time.monotonic() - tidied > 60 * options.keep:
                housekeeping.tidy(settings, environment, time.time() + UNITS["day"] - 60 * options.keep)
                tidied = time.monotonic()
            if number in options.runs:
                ended(lambda: all(green(each) for each in api.runs(verify)))
                print(
                    f"{number:,} runs: {statistics.median(times):.1f} s; services hold {held(layout):,.0f} MB",
                    flush=True,
                )
                times.clear()
                places = {
                    each.name: each
                    for each in sorted(settings.home.iterdir())
                    if each.name not in {"jars", "java"}
                }
                places |= {f"data, {each.name}": each for each in sorted(folder.root.iterdir())}
                for name, place in places.items():
                    size, count = on_disk(place)
                    print(f"  {name:<26} {size / 1000:12,.0f} kB {count:8,} files", flush=True)


if __name__ == "__main__":
    main()
