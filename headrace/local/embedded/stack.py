"""The embedded stack as a whole: start it, stop it, say how it does."""

import contextlib
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

import httpx

from headrace.errors import BrokerError, UnavailableError
from headrace.kafka import settings_file
from headrace.kafka.client import Kafka
from headrace.local import connections
from headrace.local.client.console import Say
from headrace.local.client.rest import Airflow
from headrace.local.embedded import airflow, archive, kafka, ports, spark
from headrace.local.embedded.layout import Layout
from headrace.local.embedded.services import Service, State, Supervisor
from headrace.local.install import jars, java
from headrace.settings import Settings

LAYOUT = "1"
"""Version of the state folder. Raise it when what is in there can no longer be used as it is."""

FREE = 1_000_000_000
"""Bytes that must be free: jars, Java, the broker's log and Airflow's database take half of it."""

READY_TIMEOUT = 180.0
"""Seconds until every service must be ready; it takes about 20 on two idle cores."""

KAFKA = "kafka"
HOUSEKEEPING = "housekeeping"

STARTING = "Starting Kafka and Airflow ..."

HEALTH_TIMEOUT = 3.0
"""Seconds for the broker to answer a health check."""


@dataclass(frozen=True)
class Status:
    """How the stack does.

    services     the ones that the supervisor knows
    waiting      which of them do not answer
    left_behind  processes without a supervisor
    is_frozen    whether something listens on the broker's port, and answers nothing
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
    with _locked(layout, say):
        settings_file.discard_left(layout.home)
        supervisor = Supervisor(layout.services)
        if supervisor.is_running():
            _require_same(settings, supervisor)
            names = [state.name for state in supervisor.states()]
            for name in names:
                supervisor.start_service(name)
            with (
                say.waiting(STARTING)
                if _waiting_for(settings, supervisor.states())
                else contextlib.nullcontext()
            ):
                _wait_until_ready(settings, supervisor, names)
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
            with _uninterrupted():
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
    with _locked(layout, say):
        if not supervisor.is_running() and not supervisor.processes():
            settings_file.discard_left(layout.home)
            say.line("The stack is not running.")
            return
        with say.waiting("Stopping the stack ..."), _uninterrupted():
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
    waiting = _waiting_for(settings, states)
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
            f"{layout.home} cannot be written ({error.strerror}); name a folder of yours in HEADRACE_HOME, or change its owner."
        ) from error
    if not os.access(layout.home, os.W_OK):
        raise UnavailableError(
            f"{layout.home} is not writable; name a folder of yours in HEADRACE_HOME, or change its owner."
        )
    found = layout.version.read_text().strip()
    if found != LAYOUT:
        raise UnavailableError(
            f"{layout.home} was made by another version of Headrace (its layout is {found!r}, this one's is {LAYOUT!r}). Stop what runs there "
            f"with that version, move the folder away, and run this again; what is in the data folder stays as it is."
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
            "make room, or name a folder on another disk in HEADRACE_HOME."
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
        _wait_until_ready(settings, supervisor, [airflow.API_SERVER])
        _keep_connections(settings, environment, say)
        supervisor.start_service(airflow.SCHEDULER)
        _wait_until_ready(settings, supervisor, [service.name for service in services])
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
        raise UnavailableError(f"Airflow's database cannot be prepared:\n{_tail(made.stdout + made.stderr)}")
    with contextlib.closing(sqlite3.connect(airflow.database(layout))) as database:
        # Services read while others write.
        database.execute("PRAGMA journal_mode = WAL")
    stamp.write_text(wanted)


def _keep_connections(settings: Settings, environment: Mapping[str, str], say: Say) -> None:
    """Bring Headrace's own connections up to date, in the Airflow that runs in this environment."""
    wanted, note = connections.embedded(settings), Layout.of(settings).connections
    with Airflow.connected(settings) as api:
        connections.keep(api, wanted, note, lambda name: connections.stored(name, environment), say.line)


def _wait_until_ready(settings: Settings, supervisor: Supervisor, names: Collection[str]) -> None:
    """Wait until these services answer.

    Raises `UnavailableError` with the end of the log of what does not.
    """
    deadline = time.monotonic() + READY_TIMEOUT

    def unanswered(states: list[State]) -> list[str]:
        return [name for name in _waiting_for(settings, states) if name in names]

    waiting = unanswered(supervisor.states())
    while waiting:
        states = {state.name: state for state in supervisor.states()}
        if not states:
            raise UnavailableError(
                f"The supervisor is gone; its log is {supervisor.folder / 'supervisor.log'}."
            )
        failed = [state for state in states.values() if state.has_failed]
        if failed or time.monotonic() > deadline:
            one = failed[0] if failed else states[waiting[0]]
            why = "does not start" if failed else f"is not ready after {READY_TIMEOUT:.0f} s"
            raise UnavailableError(
                f"{one.name} {why}; the end of {one.log}:\n{_tail(one.log.read_text(errors='replace'))}"
            )
        time.sleep(0.25)
        waiting = unanswered(list(states.values()))


def _waiting_for(settings: Settings, states: list[State]) -> list[str]:
    """Name the services that do not answer yet."""
    waiting = [state.name for state in states if not state.has_process]
    if not _broker_answers(settings):
        waiting.append(KAFKA)
    if not ports.answers(airflow.execution_port(settings)):
        waiting.append(airflow.EXECUTION_API)
    try:
        health = (
            httpx.get(f"{settings.ui_url}/api/v2/monitor/health", timeout=5, trust_env=False)
            .raise_for_status()
            .json()
        )
    except (httpx.HTTPError, ValueError):
        return sorted({*waiting, *airflow.SERVICES})
    waiting += [state.name for state in states if state.name in airflow.BEATING and not _beats(health, state)]
    return sorted(set(waiting))


def _broker_answers(settings: Settings) -> bool:
    """Say whether the broker answers a question.

    An open port says nothing, the system accepts connections for a frozen process.
    """
    try:
        Kafka({"bootstrap.servers": settings.bootstrap_servers}, HEALTH_TIMEOUT).check_listeners()
    except BrokerError:
        return False
    return True


def _beats(health: dict[str, dict[str, str | None]], state: State) -> bool:
    """Say whether Airflow counts a service as healthy by this process's heartbeat, not an earlier one's."""
    name = state.name.replace("-", "_")
    part = health.get(name) or {}
    heartbeat = part.get(f"latest_{name}_heartbeat")
    return (
        part.get("status") == "healthy"
        and heartbeat is not None
        and datetime.fromisoformat(heartbeat) >= state.since
    )


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


@contextlib.contextmanager
def _locked(layout: Layout, say: Say) -> Iterator[None]:
    """Keep other commands from starting or stopping the same stack meanwhile; wait for one that does."""
    with layout.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            say.line(
                f"Another command (pid {file.read().strip() or 'unknown'}) is starting or stopping this stack; waiting for it to end."
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Finish what is in the block whatever the user presses."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's business
        return
    before = {
        number: signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tail(text: str, lines: int = 20) -> str:
    return "\n".join(text.splitlines()[-lines:])
