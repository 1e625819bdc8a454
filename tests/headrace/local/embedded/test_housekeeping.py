"""What the stack removes by itself, and what it leaves alone."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.errors import UsageError
from headrace.local.embedded import housekeeping
from headrace.local.embedded.airflow import environment
from headrace.local.embedded.housekeeping import remove_files, tidy
from headrace.settings import KEEP_LOGS, KEEP_RUNS, ROOT, Settings

DAY = 86_400.0
NOW = time.time()


def aged(path: Path, days: float) -> None:
    """Let a file or folder be last written so many days ago."""
    os.utime(path, (NOW - days * DAY, NOW - days * DAY))


def logged(folder: Path, run: str, days: float) -> Path:
    """The log of a run's task, with the folders in which Airflow keeps it, all so old."""
    task = folder / "dag_id=p_ingest" / f"run_id={run}" / "task_id=preflight"
    task.mkdir(parents=True)
    log = task / "attempt=1.log"
    log.write_text("a line")
    for path in (log, task, task.parent):
        aged(path, days)
    return log


def names(folder: Path) -> list[str]:
    """Everything below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_old_logs_go_with_their_folders(tmp_path: Path) -> None:
    """The young ones stay, and so does the folder of a DAG, in which its next run is about to write."""
    logged(tmp_path, "old", 31)
    logged(tmp_path, "young", 29)
    assert remove_files(tmp_path, NOW - 30 * DAY) == 1
    young = ["dag_id=p_ingest/run_id=young", "dag_id=p_ingest/run_id=young/task_id=preflight"]
    assert names(tmp_path) == ["dag_id=p_ingest", *young, f"{young[1]}/attempt=1.log"]
    assert remove_files(tmp_path / "absent", NOW) == 0


def test_the_log_of_a_task_that_runs_stays(tmp_path: Path) -> None:
    """It is written to now, in the folder of an old run that was cleared."""
    old = logged(tmp_path, "cleared", 31)
    (old.parent / "attempt=2.log").write_text("a line")
    aged(old.parent, 31)
    assert remove_files(tmp_path, NOW - 30 * DAY) == 1
    assert names(old.parent) == ["attempt=2.log"]


def test_what_a_link_leads_to_stays(tmp_path: Path) -> None:
    """A folder of logs may link to another one."""
    (tmp_path / "elsewhere").mkdir()
    kept = logged(tmp_path / "elsewhere", "old", 31)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "latest").symlink_to(tmp_path / "elsewhere")
    assert remove_files(tmp_path / "logs", NOW - 30 * DAY) == 0
    assert kept.exists()


def test_a_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs, what drivers left, and Airflow's rows, each by its own setting.

    The rows by a process of its own, which ends.
    """
    calls: list[list[str]] = []

    def ran(command: list[str], **_: Any) -> SimpleNamespace:
        calls.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", ran)
    monkeypatch.setattr("headrace.local.embedded.spark.processes_with", lambda *_: iter(()))
    logged(tmp_path / "logs", "old", 3)
    left = tmp_path / "spark" / "tmp" / "spark-1"
    left.mkdir(parents=True)
    aged(left, 2)
    settings = Settings.from_environment(
        {"HEADRACE_HOME": str(tmp_path), KEEP_LOGS: "2 days", KEEP_RUNS: "90 days"}
    )
    tidy(settings, {"AIRFLOW_HOME": str(tmp_path), "SPARK_CONF_DIR": str(tmp_path / "spark" / "conf")}, NOW)
    assert names(tmp_path / "logs") == ["dag_id=p_ingest"]
    assert not left.exists()
    assert calls == [[sys.executable, "-m", "headrace.airflow.old_rows", str(NOW - 90 * DAY)]]


def test_a_container_needs_no_supervisor() -> None:
    """Airflow's image has none; the same module runs there."""
    code = "import sys; import headrace.local.embedded.housekeeping; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert not {"supervisor", "airflow"} & set(loaded)


def test_a_round_that_fails_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, or a database that does not answer, does not end the service."""
    rounds: list[float] = []

    def failed(*_: object) -> None:
        rounds.append(time.time())
        raise OSError(28, "No space left on device")

    def slept(_: float) -> None:
        if len(rounds) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(housekeeping, "tidy", failed)
    monkeypatch.setattr(time, "sleep", slept)
    with pytest.raises(KeyboardInterrupt):
        housekeeping.main()
    assert len(rounds) == 2


@pytest.mark.parametrize("text", ["30", "0 days", "a month", "23 hours"])
def test_a_setting_that_is_no_duration_or_too_short_is_a_mistake(text: str) -> None:
    """`up` says so, and not a log that nobody reads. A run with all of its tries can take a day."""
    with pytest.raises(UsageError, match=KEEP_RUNS):
        Settings.from_environment({KEEP_RUNS: text})


def test_the_stack_is_started_with_the_settings(tmp_path: Path) -> None:
    """So that another command sees with which."""
    settings = Settings.from_environment({"HEADRACE_HOME": str(tmp_path), KEEP_LOGS: "48 hours"})
    given = environment(settings, {})
    assert (given[KEEP_LOGS], given[KEEP_RUNS]) == ("2 days", "30 days")
