"""An archive of the classes that a stream loads, with which Spark starts in about two thirds of the time.

Java writes it when a process ends, which takes half a minute: so after the first green demo one stream runs
in the background, into a folder that is thrown away. Only the pinned Java does this: the launcher in front of
it makes the class path one that can be archived.
"""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from headrace.errors import UnavailableError
from headrace.kafka.settings_file import kafka_file
from headrace.local import connections
from headrace.local.embedded import spark
from headrace.local.embedded.layout import Layout
from headrace.local.embedded.services import Supervisor
from headrace.local.install import jars
from headrace.settings import ROOT, Settings

MODULE = "headrace.local.embedded.archive"
"""This one, as a process runs it."""


def is_due(settings: Settings) -> bool:
    """Say whether an archive can be made, is not there, and is not being made.

    The stack in containers needs none of this machine's.
    """
    layout = Layout.of(settings)
    supervisor = Supervisor(layout.services)
    if settings.java_home or layout.spark_classes.exists() or not supervisor.is_running():
        return False
    return not any(map(_makes_one, supervisor.processes()))


def _makes_one(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return MODULE in process.cmdline()
    return False


def use(settings: Settings) -> None:
    """Write Spark's settings, with the archive if there is one."""
    layout = Layout.of(settings)
    archive = layout.spark_classes if settings.java_home is None else None
    spark.prepare(layout.spark_conf, jars.class_path(layout.jars, "connector"), archive)


def make_in_background(settings: Settings, pipeline: Path) -> None:
    """Start making the archive, as a process of the running stack that stops with it."""
    layout = Layout.of(settings)
    command = [sys.executable, "-m", MODULE, str(pipeline)]
    with layout.log("archive").open("wb") as log:
        subprocess.Popen(
            command,
            env=dict(Supervisor(layout.services).environment()),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def make(settings: Settings, pipeline: Path) -> None:
    """Run a pipeline's stream, on the Kafka of its DAG, into a folder that is thrown away.

    Keep the archive of its classes, and use it from now on.

    Raises `UnavailableError` if the stream does not finish.
    """
    layout = Layout.of(settings)
    kafka = connections.kafka_config(settings)
    with (
        tempfile.TemporaryDirectory(dir=layout.spark_conf.parent) as scratch,
        kafka_file(kafka, settings.home) as file,
    ):
        made = Path(scratch) / "classes.jsa"
        command = ["spark-submit", "--master", "local[2]"]
        command += [
            "--conf",
            f"spark.driver.extraJavaOptions={spark.java_options(layout.spark_conf, f'-XX:ArchiveClassesAtExit={made}')}",
        ]
        command += [
            str(ROOT / "spark_apps" / "archived.py"),
            "--pipeline",
            str(pipeline),
            "--data",
            scratch,
        ]
        command += ["--kafka", file]
        environment = {**os.environ, **spark.environment(layout.spark_conf, layout.java_home)}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode != 0 or not made.exists():
            raise UnavailableError(
                f"The archive of Spark's classes could not be made:\n{(ended.stdout + ended.stderr)[-2000:]}"
            )
        made.rename(layout.spark_classes)
    use(settings)


if __name__ == "__main__":
    # So that nothing is left when the stack is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.nice(10)
    with suppress(KeyboardInterrupt):
        make(Settings.from_environment(), Path(sys.argv[1]))
