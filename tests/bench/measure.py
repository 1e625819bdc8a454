"""What programs take: of the whole process, and of the jobs in it.

CPU and memory are those of all processes that a program starts, Java's and Python's workers too; where the
system is not Linux, CPU seconds of workers that outlive their parent are missing.
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

SUBREAPER = 36
"""Linux's prctl: processes that lose their parent become ours, so that their CPU time is counted."""
EVERY = 1.0
"""Seconds between two looks at the memory, each of which keeps a large process for some milliseconds."""
LONGEST = 1_800.0
"""Seconds that a program may take."""
LEFT = 60.0
"""Seconds that processes which it leaves behind may take to end."""
JOB = "JOB "


class Took(msgspec.Struct, frozen=True):
    """What a program or a job took: wall and CPU seconds, and the highest sum over its processes in MB.

    Zero is what was not measured.
    """

    seconds: float
    cpu: float = 0.0
    memory: float = 0.0


class Job(msgspec.Struct, frozen=True):
    """A part of a program."""

    name: str
    took: Took


def run(command: Sequence[str], environment: Mapping[str, str], log: Path) -> tuple[Took, list[Job]]:
    """Run a program; exit if it fails."""
    _adopt(1)
    before, start = cpu_of_children(), time.monotonic()
    with log.open("w") as err:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            start_new_session=True,
        )
        watch = _Watch(process.pid)
        try:
            out, _ = process.communicate(timeout=LONGEST)
            seconds = time.monotonic() - start
            _await_end(process.pid)
        finally:
            for left in of_session(process.pid):
                with suppress(psutil.NoSuchProcess):
                    left.kill()
            watch.end()
            _adopt(0)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{out}{log.read_text()[-4000:]}")
    jobs = [
        msgspec.json.decode(line.removeprefix(JOB), type=Job)
        for line in out.splitlines()
        if line.startswith(JOB)
    ]
    return Took(seconds, cpu_of_children() - before, watch.peak), jobs


@contextmanager
def job(name: str) -> Iterator[None]:
    """Say what the block took, from within the program that is measured."""
    sys.stdout.flush()
    before, start = cpu_of_session(), time.monotonic()
    yield
    took = Took(time.monotonic() - start, cpu_of_session() - before)
    print(f"{JOB}{json.dumps({'name': name, 'took': msgspec.to_builtins(took)})}", flush=True)


def cpu_of_children() -> float:
    """CPU seconds of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_of_session() -> float:
    """CPU seconds of this session's processes, and of the children that they have waited for."""
    total = 0.0
    for process in of_session(os.getsid(0)):
        with suppress(psutil.Error):
            total += sum(process.cpu_times()[:4])
    return total


def of_session(session: int) -> Iterator[psutil.Process]:
    """Its processes."""
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == session:
                yield process


class _Watch:
    """Looks at a session's memory now and then."""

    def __init__(self, session: int) -> None:
        self.peak = 0.0
        self._session = session
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(EVERY):
            self.peak = max(self.peak, sum(map(_memory, of_session(self._session))) / 1e6)


def _memory(process: psutil.Process) -> float:
    """Bytes; what several processes share is counted once, where the system says so."""
    with suppress(OSError, psutil.Error):
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except FileNotFoundError:
            return float(process.memory_info().rss)
        return 1024 * sum(float(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return 0.0


def _await_end(session: int) -> None:
    """Wait for what a program leaves behind."""
    deadline = time.monotonic() + LEFT
    while left := list(of_session(session)):
        for process in left:
            with suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
        if time.monotonic() > deadline:
            sys.exit(f"Still there {LEFT:.0f} s after the program: {left}.")
        time.sleep(0.05)


def _adopt(value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, value, 0, 0, 0)
