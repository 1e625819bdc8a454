"""What can be known in seconds and would fail a run after minutes."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

from headrace.contract.pipeline import Pipeline
from headrace.durations import written
from headrace.errors import Code, ResourceError, UnavailableError, UnwritableError, UsageError
from headrace.kafka.client import Kafka
from headrace.ledger.folder import Folder
from headrace.ledger.guard import check_pipeline, check_starting
from headrace.ledger.identity import read_identity

FOUR_YEARS = 4 * 365 + 1
"""In days."""
LEAST_FREE_BYTES = 500 << 20
ANOTHER_DISK = (
    "set HEADRACE_DATA to a folder on another disk and start the stack again; it holds all pipelines."
)
_CORE = re.compile(r"spark-core_2\.13-(?P<spark>\d[\w.]*)\.jar")
_CONNECTOR = re.compile(r"spark-sql-kafka-0-10_2\.13-(?P<spark>\d[\w.]*)\.jar")


def checks(kafka: Kafka, data: Path) -> Iterator[str]:
    """Check one thing after the other and say what is well. Raises `UnavailableError` with the fix."""
    brokers = kafka.check_listeners()
    yield f"Kafka at {kafka.servers}: {brokers} broker{'s' * (brokers != 1)}, reached at the advertised address"
    yield f"Kafka connector {check_connector()} on Spark's class path, the version of Spark"
    yield f"{data}: writable, {check_writable(data) >> 30} GiB free"


def check_file(pipeline: Pipeline) -> None:
    """Raise `UsageError` for a lag that even a healthy pipeline exceeds: records wait between runs."""
    limit, schedule = pipeline.limits.lag, pipeline.schedule
    if limit is not None and schedule is not None and limit <= (interval := longest_interval(schedule)):
        raise UsageError(
            f"{pipeline.path}: [limits] lag is {written(limit)}, but with the schedule '{schedule}' up to {written(interval)} pass between two runs. "
            "Records always wait that long: set a longer lag, or a more frequent schedule.",
            code=Code.LIMIT_TOO_SHORT,
        )


def check_against_ledger(pipeline: Pipeline, folder: Folder) -> None:
    """What of `opening.check_can_start` needs no Kafka.

    Raise `RefusedError` or `UsageError` if the file does not fit what is published.
    """
    if identity := read_identity(folder):
        check_pipeline(folder, identity, pipeline)
    else:
        check_starting(pipeline)


def longest_interval(schedule: str) -> float:
    """The longest time between two ticks of a cron schedule within four years, in seconds.

    It is infinite if there is one tick at most.
    """
    from croniter import croniter  # noqa: PLC0415  Airflow's own reading of schedules; few need it here

    minutes, hours, days, months, weekdays = (set(values) for values in croniter.expand(schedule)[0][:5])
    every = {"*"}
    ticks = sorted(
        60 * hour + minute
        for hour in (range(24) if hours == every else hours)
        for minute in (range(60) if minutes == every else minutes)
    )

    def matches(day: date) -> bool:
        of_month, of_week = day.day in days, day.isoweekday() % 7 in weekdays
        if every not in (days, weekdays):
            # Cron's rule where both are given.
            return (of_month or of_week) and (months == every or day.month in months)
        return (
            (days == every or of_month)
            and (weekdays == every or of_week)
            and (months == every or day.month in months)
        )

    found = [number for number in range(FOUR_YEARS) if matches(date(2024, 1, 1) + timedelta(days=number))]
    within = [after - before for before, after in pairwise(ticks)]
    between = [
        (after - before) * 1440 + ticks[0] - ticks[-1]
        for before, after in pairwise([*found, *[each + FOUR_YEARS for each in found[:1]]])
    ]
    return 60.0 * max([*within, *between], default=float("inf"))


def check_connector() -> str:
    """The version of the Kafka connector that Spark will load.

    It must be Spark's own, to the patch, or classes are missing at run time.
    """
    jars = [jar.name for jar in _class_path()]
    spark = next((match["spark"] for jar in jars if (match := _CORE.fullmatch(jar))), "not found")
    found = {match["spark"] for jar in jars if (match := _CONNECTOR.fullmatch(jar))}
    if found != {spark}:
        names = ", ".join(sorted(found)) or "none"
        raise UnavailableError(
            f"Spark is {spark}, the Kafka connector on its class path is {names}. They must be the same, to the patch and the Scala version. "
            "`make up` puts the right jars in place, as does `make compose-up` in its images."
        )
    return spark


def _class_path() -> Iterator[Path]:
    """Jars that a driver will load: Spark's own, and those named in spark-defaults.conf."""
    yield from (Path(os.environ.get("SPARK_HOME", "")) / "jars").glob("*.jar")
    defaults = Path(os.environ.get("SPARK_CONF_DIR", "")) / "spark-defaults.conf"
    for line in defaults.read_text().splitlines() if defaults.is_file() else []:
        key, _, value = line.strip().partition(" ")
        if key == "spark.driver.extraClassPath":
            for part in value.strip().split(os.pathsep):
                yield from Path(part).parent.glob(Path(part).name)


def check_writable(data: Path) -> int:
    """Free bytes in a folder that can be written to and synced."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data) as file:
            file.write(b"headrace")
            os.fsync(file.fileno())
    except OSError as error:
        is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise (ResourceError if is_full else UnwritableError)(
            f"{data} can't be written: {error.strerror}. {'Make room' if is_full else 'Change its owner'}, or {ANOTHER_DISK}"
        ) from error
    return check_room(data)


def check_room(data: Path) -> int:
    """Free bytes where a folder is, or would be made."""
    there = next(each for each in (data, *data.parents) if each.exists())
    free = shutil.disk_usage(there).free
    if free < LEAST_FREE_BYTES:
        raise UnavailableError(
            f"{data} has {free >> 20} MiB free; a run needs {LEAST_FREE_BYTES >> 20} MiB at least. Make room, or {ANOTHER_DISK}",
            code=Code.DISK_FULL,
        )
    return free
