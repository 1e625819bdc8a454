"""Whatever the size, share and seed of clean runs: green."""

import subprocess
from pathlib import Path
from typing import TypeAlias

import pytest

from random_runs import RUNS

Process: TypeAlias = tuple["subprocess.Popen[bytes]", Path]


def test_random_runs_begin(random_runs: Process) -> None:
    """In a process of their own, before all other tests that share a broker: see `tests/conftest.py`."""
    process, log = random_runs
    assert process.poll() is None, log.read_text()


@pytest.mark.timeout(1200 + 6 * RUNS)
def test_random_runs_are_never_red(random_runs: Process) -> None:
    """This test comes last, and waits for their end.

    `HEADRACE_RANDOM_RUNS=1000 .venv/bin/pytest tests/integration/test_random_runs.py` makes more than
    the usual 40.
    """
    process, log = random_runs
    process.wait()
    assert process.returncode == 0, log.read_text()
    assert f"{RUNS} runs were green" in log.read_text().splitlines(), (
        "Spark may say goodbye after it, but it must be there"
    )
