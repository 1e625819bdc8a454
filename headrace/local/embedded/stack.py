"""The embedded stack as a whole: start it, stop it, say how it does."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from headrace.errors import Code, UnavailableError
from headrace.kafka import settings_file
from headrace.local import connections
from headrace.local.client.console import Say
from headrace.local.client.rest import Airflow
from headrace.local.embedded import airflow, archive, kafka, ports, spark
from headrace.local.embedded.interrupts import locked, uninterrupted
from headrace.local.embedded.layout import Layout
from headrace.local.embedded.readiness import HEALTH_TIMEOUT, KAFKA, tail, wait_until_ready, waiting_for
from headrace.local.embedded.services import Service, State, Supervisor
from headrace.local.install import jars, java
from headrace.settings import Settings

LAYOUT = "1"
"""Version of the state folder. Raise it when what is in there can no longer be used as it is."""

FREE = 1_000_000_000
"""Bytes that must be free: jars, Java, the broker's log and Airflow's database take half of it."""


HOUSEKEEPING = "housekeeping"

STARTING = "Starting Kafka and Airflow ..."


@dataclass(frozen=True)
class Status:
    """How the stack does.

    Attributes:
        services: The ones that the supervisor knows.
        waiting: Which of them do not answer.
        left_behind: Processes without a supervisor.
        is_frozen: Whether something listens on the broker's port, and answers nothing.
    """

    services: list[State]
    waiting: list[str]
    left_behind: int
    is_frozen: bool = False

    @property
    def is_ready(self) -> bool:
        """Say whether everything answers."""
        return bool(self.services) and not self.waiting


def up(settings: Settings, say: Say) -> None:
    """Start what is not running and return when all of it is ready.

    On any failure nothing that this call started stays.
    """
    layout = Layout.of(settings)
    claim(layout)
    with locked(layout, say):
        settings_file.discard_left(layout.home)
        supervisor = Supervisor(layout.services)
        if supervisor.is_running():
            _require_same(settings, supervisor)
            names = [state.name for state in supervisor.states()]
            for name in names:
                supervisor.start_service(name)
            with (
                say.waiting(STARTING)
                if waiting_for(settings, supervisor.states())
                else contextlib.nullcontext()
            ):
                wait_until_ready(settings, supervisor, names)
            _keep_connections(settings, supervisor.environment(), say)
            say.line("The stack is up.")
            return
        if supervisor.processes():
            say.line("The supervisor of an earlier start is gone; stopping what it left behind.")
            supervisor.stop()
        ports.require_free(needed_ports(settings))
        prepare(settings, say)
        try:
            _start(settings, layout, supervisor, say)
        except BaseException:
            with uninterrupted():
                say.line("Stopping what was started.")
                supervisor.stop()
            raise


def down(settings: Settings, say: Say) -> None:
    """Stop every process of the stack."""
    layout = Layout.of(settings)
    supervisor = Supervisor(layout.services)
    if not layout.home.is_dir():
        say.line("The stack is not running.")
        return
    with locked(layout, say):
        if not supervisor.is_running() and not supervisor.processes():
            settings_file.discard_left(layout.home)
            say.line("The stack is not running.")
            return
        with say.waiting("Stopping the stack ..."), uninterrupted():
            supervisor.stop()
            spark.tidy(layout.spark_conf)
            settings_file.discard_left(layout.home)
        say.line("The stack is down.")


def status(settings: Settings) -> Status:
    """Ask the supervisor and the services how they do."""
    supervisor = Supervisor(Layout.of(settings).services)
    states = supervisor.states()
    if not states:
        return Status([], [], left_behind=len(supervisor.processes()))
    waiting = waiting_for(settings, states)
    return Status(
        states,
        waiting,
        left_behind=0,
        is_frozen=KAFKA in waiting and not ports.is_refused(settings.kafka_port),
    )


def frozen(settings: Settings, states: list[State]) -> str:
    """What to say of a broker that is frozen."""
    one = next(state for state in states if state.name == KAFKA)
    return (
        f"Kafka at {settings.bootstrap_servers} did not answer within {HEALTH_TIMEOUT:.0f} s, though it listens: it is frozen or overloaded. Its log: "
        f"{one.log}. If it was stopped, `kill -CONT {one.pid}` lets it go on; `kill -9 {one.pid}` has it started again. What it holds stays."
    )


def claim(layout: Layout) -> None:
    """Make the state folder.

    Raises `UnavailableError` if it cannot be used: no right to write, another version, no space.
    """
    try:
        layout.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not layout.version.exists():
            layout.version.write_text(LAYOUT)
    except OSError as error:
        raise UnavailableError(
            f"{layout.home} cannot be written ({error.strerror}); name a folder of yours in HEADRACE_HOME, or change its owner.",
            code=Code.UNWRITTEN,
        ) from error
    if not os.access(layout.home, os.W_OK):
        raise UnavailableError(
            f"{layout.home} is not writable; name a folder of yours in HEADRACE_HOME, or change its owner."
        )
    found = layout.version.read_text().strip()
    if found != LAYOUT:
        raise UnavailableError(
            f"{layout.home} was made by another version of Headrace (its layout is {found!r}, this one's is {LAYOUT!r}). Stop what runs there "
            f"with that version, move the folder away, and run this again; what is in the data folder stays as it is.",
            code=Code.OTHER_VERSION,
        )
    if layout.home.stat().st_mode & 0o077:  # it was there before; passwords and logs are below it
        try:
            layout.home.chmod(0o700)
        except OSError as error:
            raise UnavailableError(
                f"{layout.home} is open to other users and can't be closed ({error.strerror}); name a folder of yours in HEADRACE_HOME."
            ) from error
    free = shutil.disk_usage(layout.home).free
    if free < FREE:
        raise UnavailableError(
            f"Only {free / 1e9:.1f} GB are free for {layout.home}, and {FREE / 1e9:.0f} GB are needed; "
            "make room, or name a folder on another disk in HEADRACE_HOME.",
            code=Code.DISK_FULL,
        )


def prepare(settings: Settings, say: Say) -> None:
    """Set up what needs no running service: Java, jars, and Spark's configuration.

    Does nothing the second time.
    """
    layout = Layout.of(settings)
    claim(layout)
    java.prepare(settings.java_home, layout.home / "java")
    jars.prepare(layout.jars, layout.java_home, os.environ, say)
    archive.use(settings)


def needed_ports(settings: Settings) -> list[ports.Port]:
    """Return every port that the stack listens on."""
    return [
        *kafka.listened_ports(settings.kafka_port),
        ports.Port(settings.ui_port, "Airflow", "HEADRACE_UI_PORT"),
        ports.Port(airflow.execution_port(settings), "Airflow's tasks", "HEADRACE_UI_PORT"),
    ]


def _start(settings: Settings, layout: Layout, supervisor: Supervisor, say: Say) -> None:
    broker = kafka.Broker(layout.kafka, settings.kafka_port, layout.jars, layout.java_home)
    broker.prepare()
    settings.data.mkdir(parents=True, exist_ok=True)
    environment = os.environ | airflow.environment(settings)
    services = [
        Service(KAFKA, broker.command, layout.log(KAFKA)),
        *(
            Service(
                name, [sys.executable, "-m", "airflow", *airflow.command(name, settings)], layout.log(name)
            )
            for name in airflow.SERVICES
        ),
        Service(
            HOUSEKEEPING,
            [sys.executable, "-m", "headrace.local.embedded.housekeeping"],
            layout.log(HOUSEKEEPING),
        ),
    ]
    began = time.monotonic()
    supervisor.start(services, environment)
    supervisor.start_service(KAFKA)
    is_new = not airflow.database(layout).exists()
    _migrate(layout, environment, say)
    # A run that is due begins at once: not with a connection that is not there yet, or names another port. In
    # a new database none is due.
    can_run = is_new or connections.are_kept(connections.embedded(settings), layout.connections)
    with say.waiting(STARTING):
        for service in services:
            if can_run or service.name != airflow.SCHEDULER:
                supervisor.start_service(service.name)
        wait_until_ready(settings, supervisor, [airflow.API_SERVER])
        _keep_connections(settings, environment, say)
        supervisor.start_service(airflow.SCHEDULER)
        wait_until_ready(settings, supervisor, [service.name for service in services])
    say.line(f"The stack is up after {time.monotonic() - began:.0f} s.")


def _migrate(layout: Layout, environment: dict[str, str], say: Say) -> None:
    """Bring Airflow's database to the version of the installed Airflow."""
    stamp = layout.airflow / "migrated"
    wanted = version("apache-airflow-core")
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    layout.airflow.mkdir(parents=True, exist_ok=True)
    with say.waiting("Preparing Airflow's database ..."):
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise UnavailableError(f"Airflow's database cannot be prepared:\n{tail(made.stdout + made.stderr)}")
    with contextlib.closing(sqlite3.connect(airflow.database(layout))) as database:
        # Services read while others write.
        database.execute("PRAGMA journal_mode = WAL")
    stamp.write_text(wanted)


def _keep_connections(settings: Settings, environment: Mapping[str, str], say: Say) -> None:
    """Bring Headrace's own connections up to date, in the Airflow that runs in this environment."""
    wanted, note = connections.embedded(settings), Layout.of(settings).connections
    with Airflow.connected(settings) as api:
        connections.keep(api, wanted, note, lambda name: connections.stored(name, environment), say.line)


def _require_same(settings: Settings, supervisor: Supervisor) -> None:
    """Raise `UnavailableError` if the running stack was started with other settings."""
    running = supervisor.environment()
    wanted = {
        name: value for name, value in airflow.environment(settings).items() if name.startswith("HEADRACE_")
    }
    others = [
        f"{name} is {running.get(name)}, not {value}"
        for name, value in wanted.items()
        if running.get(name) != value
    ]
    if others:
        raise UnavailableError(
            f"The stack in {settings.home} is up with other settings ({'; '.join(others)}); run `{settings.make('down')}` first."
        )
