"""What can be known in seconds and would fail a run after minutes."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from headrace.errors import SurroundingsError
from headrace.kafka import Kafka

LEAST_FREE_BYTES = 500 << 20
_CORE = re.compile(r"spark-core_2\.13-(?P<spark>\d[\w.]*)\.jar")
_CONNECTOR = re.compile(r"spark-sql-kafka-0-10_2\.13-(?P<spark>\d[\w.]*)\.jar")


def checks(kafka: Kafka, data: Path) -> Iterator[str]:
    """Check one thing after the other and say what is well. Raises `SurroundingsError` with the fix."""
    brokers = kafka.check_listeners()
    yield f"Kafka at {kafka.servers}: {brokers} broker{'s' * (brokers != 1)}, reached at the advertised address"
    yield f"Kafka connector {check_connector()} on Spark's class path, the version of Spark"
    yield f"{data}: writable, {check_writable(data) >> 30} GiB free"


def check_connector() -> str:
    """The version of the Kafka connector that Spark will load; it must be Spark's own, to the patch, or classes are missing at run time."""
    jars = [jar.name for jar in _class_path()]
    spark = next((match["spark"] for jar in jars if (match := _CORE.fullmatch(jar))), "not found")
    found = {match["spark"] for jar in jars if (match := _CONNECTOR.fullmatch(jar))}
    if found != {spark}:
        names = ", ".join(sorted(found)) or "none"
        raise SurroundingsError(
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
        raise SurroundingsError(
            f"{data} can't be written: {error.strerror}. Change its owner, or set HEADRACE_DATA to another folder."
        ) from error
    free = shutil.disk_usage(data).free
    if free < LEAST_FREE_BYTES:
        raise SurroundingsError(
            f"{data} has {free >> 20} MiB free; a run needs {LEAST_FREE_BYTES >> 20} MiB at least. Make room, or set HEADRACE_DATA."
        )
    return free
