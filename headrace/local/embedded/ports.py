"""Ports of 127.0.0.1: who has one, and waiting until one answers."""

import contextlib
import errno
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from headrace.errors import UnavailableError
from headrace.local.embedded.layout import MARK

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Port:
    """A port that the stack needs, what for, and how to move it."""

    number: int
    purpose: str
    variable: str


def host() -> str:
    """Return the name by which the parts of the embedded Airflow know this machine."""
    return HOST


def answers(port: int) -> bool:
    """Say whether something accepts connections on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def is_refused(port: int) -> bool:
    """Say whether nothing listens on the port.

    A server that is frozen listens, though its queue of connections may be full.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == errno.ECONNREFUSED


def is_taken(port: int) -> bool:
    """Say whether a server could not listen on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise UnavailableError(f"Port {port} of {HOST} cannot be used: {error.strerror}.") from error
    return False


def require_free(ports: list[Port]) -> None:
    """Raise `UnavailableError` naming every port that is taken, by whom if known, and how to move it."""
    taken = [port for port in ports if is_taken(port.number)]
    if taken:
        lines = [
            f"Port {port.number} ({port.purpose}) is in use{_by_whom(port.number)}; stop that, or set {port.variable}."
            for port in taken
        ]
        raise UnavailableError("\n".join(lines))


def _by_whom(port: int) -> str:
    """Name the process that listens on the port; the system shows it only for the user's own processes."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return ""
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(connection.pid)
                # Airflow's services put their options into their names.
                name = process.name().partition(" -- ")[0]
                return f" by {name} (pid {process.pid}){_of_stack(process)}"
    return ""


def _of_stack(process: psutil.Process) -> str:
    """Name the state folder of the stack that the process belongs to, if it is one of Headrace's."""
    with contextlib.suppress(psutil.Error, OSError):
        if services := process.environ().get(MARK):
            return f", which is of the stack in {Path(services).parent}"
    return ""
