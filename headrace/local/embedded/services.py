"""The supervisor that keeps the services running, and every process that it ever started."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from headrace.errors import UnavailableError
from headrace.local.embedded.layout import MARK

MAX_SOCKET = 90
"""Bytes of a unix socket's path: the system takes 103 to 107, and the supervisor appends its pid."""

STOP_TIMEOUT = 60.0
"""Seconds that the supervisor gets to stop its services; each of them gets 15 before it is killed."""

SUPERVISOR = """\
; Rewritten at each start; changes are lost.
[supervisord]
logfile = {folder}/supervisor.log
logfile_maxbytes = 1MB
logfile_backups = 1
pidfile = {folder}/supervisor.pid
childlogdir = {folder}
identifier = headrace

[unix_http_server]
file = {socket}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

ENDED = re.compile(r"exited: (\S+) \((.*); (?:not )?expected\)")
"""A line of the supervisor's log: which service, and how."""

PROGRAM = """
[program:{name}]
command = {command}
directory = {folder}
autostart = false
autorestart = true
startsecs = 3
startretries = 3
stopasgroup = true
killasgroup = true
stopwaitsecs = 15
redirect_stderr = true
stdout_logfile = {log}
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 1
"""


@dataclass(frozen=True)
class Service:
    """What to keep running, and where what it prints goes."""

    name: str
    command: list[str]
    log: Path


@dataclass(frozen=True)
class State:
    """How a service does, in the supervisor's words (RUNNING, STARTING, BACKOFF, FATAL, STOPPED ...)."""

    name: str
    state: str
    pid: int
    since: datetime
    log: Path
    ended_at: datetime | None = None
    """When its process before this one ended, unless the supervisor was asked to stop it: it is started again
    then."""
    how: str = ""
    """How that one ended, in the supervisor's words."""

    @property
    def restarted(self) -> str | None:
        """What to say of a service whose process has ended and was started again, or `None`."""
        if self.ended_at is None:
            return None
        how = f" ({self.how})" if self.how else ""
        return f"{self.name} ended at {self.ended_at.astimezone():%Y-%m-%d %H:%M:%S}{how} and was started again; its log: {self.log}"

    @property
    def has_process(self) -> bool:
        """Say whether it is running, or about to."""
        return self.state in {"STARTING", "RUNNING"}

    @property
    def has_failed(self) -> bool:
        """Say whether the supervisor has given up on it."""
        return self.state == "FATAL"


def processes_with(variable: str, value: str) -> Iterator[psutil.Process]:
    """Find every process that was started with an environment variable, as far as we may look."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(variable) == value:
                yield process


class Supervisor:
    """The supervisor of one stack, which keeps its own files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, services: list[Service], environment: Mapping[str, str]) -> None:
        """Start the supervisor, not yet its services."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for service in services:
            service.log.parent.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "supervisor.conf"
        configuration.write_text(_configuration(services, self.folder, self._make_socket_path()))
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)]
        marked = {**environment, MARK: str(self.folder)}
        made = subprocess.run(
            command,
            env=marked,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            cwd=self.folder,
        )
        if made.returncode != 0:
            raise UnavailableError(f"The supervisor does not start: {(made.stderr or made.stdout).strip()}")
        deadline = time.monotonic() + 10
        while not self.is_running():
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"The supervisor does not answer; its log is {self.folder / 'supervisor.log'}."
                )
            time.sleep(0.05)

    def is_running(self) -> bool:
        """Say whether the supervisor answers."""
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except OSError:
            return False

    def start_service(self, name: str) -> None:
        """Start a service unless it is running, without waiting."""
        with contextlib.suppress(xmlrpc.client.Fault):  # it is running already
            self._call("startProcess", name, False)

    def states(self) -> list[State]:
        """Return how the services do; none if the supervisor is not running."""
        try:
            answers = self._call("getAllProcessInfo")
        except OSError:
            return []
        endings = self._endings() if any(info["stop"] for info in answers) else {}
        return [
            State(
                info["name"],
                info["statename"],
                info["pid"],
                datetime.fromtimestamp(info["start"], UTC),
                Path(info["stdout_logfile"]),
                datetime.fromtimestamp(info["stop"], UTC) if info["stop"] else None,
                endings.get(info["name"], ""),
            )
            for info in answers
        ]

    def _endings(self) -> dict[str, str]:
        """How each service's process ended last, as far as the supervisor's log goes back."""
        try:
            return dict(ENDED.findall((self.folder / "supervisor.log").read_text(errors="replace")))
        except OSError:
            return {}

    def environment(self) -> Mapping[str, str]:
        """Return the environment that the running supervisor was started with."""
        pid: int = self._call("getPID")
        environment: dict[str, str] = psutil.Process(pid).environ()
        return environment

    def processes(self) -> list[psutil.Process]:
        """Find every process of the stack except the caller's own, also those whose supervisor was killed."""
        own = {process.pid for process in [psutil.Process(), *psutil.Process().parents()]}
        return [process for process in processes_with(MARK, str(self.folder)) if process.pid not in own]

    def stop(self) -> None:
        """Stop the supervisor and every process that it or its services started."""
        try:
            supervisor = psutil.Process(self._call("getPID"))
            self._call("shutdown")
            psutil.wait_procs([supervisor], timeout=STOP_TIMEOUT)
        except (OSError, psutil.NoSuchProcess, xmlrpc.client.Fault):
            pass
        for end, timeout in ((psutil.Process.terminate, 10), (psutil.Process.kill, 5)):
            left = self.processes()
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    end(process)
            psutil.wait_procs(left, timeout=timeout)
        self._forget_socket()

    def _call(self, method: str, *arguments: object) -> Any:
        """Ask the supervisor. Raises `OSError` if it is not there, or about to go."""
        with self._connection() as supervisor:
            try:
                return getattr(supervisor, method)(*arguments)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode == Faults.SHUTDOWN_STATE:
                    raise ConnectionAbortedError("the supervisor is shutting down") from fault
                raise

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Any]:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            yield proxy.supervisor

    @property
    def _socket(self) -> str:
        note = self.folder / "socket"
        return note.read_text() if note.is_file() else os.devnull

    def _make_socket_path(self) -> str:
        """Choose a path for the socket, short enough for the system, and note it down."""
        self._forget_socket()
        path = str(self.folder / "supervisor.sock")
        if len(os.fsencode(path)) > MAX_SOCKET:
            path = str(Path(tempfile.mkdtemp(prefix="headrace-")) / "supervisor.sock")
        (self.folder / "socket").write_text(path)
        return path

    def _forget_socket(self) -> None:
        socket = Path(self._socket)
        if socket.name == "supervisor.sock":
            socket.unlink(missing_ok=True)
            if socket.parent != self.folder:
                with contextlib.suppress(OSError):
                    socket.parent.rmdir()
        (self.folder / "socket").unlink(missing_ok=True)


def _configuration(services: list[Service], folder: Path, socket: str) -> str:
    head = SUPERVISOR.format(folder=_plain(folder), socket=_plain(socket))
    # The supervisor expands the name of a log twice.
    programs = [
        PROGRAM.format(
            name=service.name,
            command=_plain(shlex.join(service.command)),
            folder=_plain(folder),
            log=_plain(_plain(service.log)),
        )
        for service in services
    ]
    return "".join([head, *programs])


def _plain(value: object) -> str:
    """Keep the supervisor from expanding percent signs."""
    return str(value).replace("%", "%%")
