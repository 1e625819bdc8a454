"""Whatever the size, share and seed of clean runs: green."""

import subprocess
from pathlib import Path

import pytest

from random_runs import RUNS


@pytest.mark.timeout(1200 + 6 * RUNS)
def test_random_runs_are_never_red(random_runs: tuple["subprocess.Popen[bytes]", Path]) -> None:
    """In a process that began before the first slice; this test comes last, and waits for its end.

    `HEADRACE_RANDOM_RUNS=1000 .venv/bin/pytest tests/integration/test_random_runs.py` makes more than the usual 200.
    """
    process, log = random_runs
    process.wait()
    assert process.returncode == 0, log.read_text()
    assert f"{RUNS} runs were green" in log.read_text().splitlines(), "Spark may say goodbye after it, but it must be there"
