"""A broker of the embedded stack's kind, for tests alone."""

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from headrace.local.embedded import ports
from headrace.local.embedded.kafka import Broker, listened_ports
from tests.java import QUICK

CLEANER = {"log.cleaner.backoff.ms": "200"}
"""How often the cleaner of compacted topics looks for something to do; a test waits for it."""

READY_TIMEOUT = 60.0
"""Seconds; it takes three on two idle cores."""


def free_port() -> int:
    """A port of 127.0.0.1 that is free, as is the one above it."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = int(first.getsockname()[1])
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except OSError:
                continue
            return port


@contextmanager
def broker(
    home: Path,
    port: int,
    jars_folder: Path,
    java_home: Path,
    settings: Mapping[str, str] | None = None,
    *,
    options: Sequence[str] = (QUICK,),
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a broker of one's own, ready when the block starts and gone when it ends.

    Settings replace those of the embedded stack; options are Java's, beside the broker's own.
    """
    one = Broker(home, port, jars_folder, java_home)
    ports.require_free(listened_ports(port))
    one.prepare()
    with (home / "server.properties").open("a") as properties:
        properties.writelines(
            f"{name}={value}\n" for name, value in (settings or {}).items()
        )  # of two lines the later one counts
    java, *own = one.command
    log = home / "broker.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [java, *options, *own],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + READY_TIMEOUT
        while not ports.answers(port):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        process.kill()
        process.wait()
