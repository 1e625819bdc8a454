"""Reading a task's log."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.utils.log import file_task_handler
from airflow.utils.state import TaskInstanceState

from headrace.local.embedded import shared_settings

with warnings.catch_warnings(action="ignore"):  # a library of Airflow's imports a deprecated test client
    from headrace.airflow import task_logs


def first_lines(folder: Path, state: TaskInstanceState, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a reader sees of the log of a task, below the folded group's title.

    The file itself has no lines.
    """
    monkeypatch.setattr(file_task_handler.FileTaskHandler, "_render_filename", lambda *_: "attempt=1.log")
    monkeypatch.setattr(
        file_task_handler.FileTaskHandler,
        "_read_from_local",
        staticmethod(lambda path: ([str(path)] if path.exists() else [], [])),
    )
    monkeypatch.setattr(
        file_task_handler.FileTaskHandler, "_get_executor_get_task_log", lambda *_: lambda *_: ([], [])
    )
    ti: Any = SimpleNamespace(state=state, try_number=1, hostname="127.0.0.1")
    lines, _ = task_logs.SharedFolderHandler(str(folder))._read(ti, 1)  # noqa: SLF001, what `read` is made of
    return [line if isinstance(line, str) else line.event for line in lines][1:]


def test_the_log_of_a_running_task_does_not_begin_with_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing serves logs: the file itself is read, and no socket is opened."""
    (tmp_path / "attempt=1.log").touch()
    assert first_lines(tmp_path, TaskInstanceState.RUNNING, monkeypatch) == [
        str(tmp_path / "attempt=1.log"),
        "::endgroup::",
    ]


def test_a_log_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was removed, or never written; while a task starts there is none yet."""
    assert (
        first_lines(tmp_path, TaskInstanceState.FAILED, monkeypatch)[0]
        == f"There is no log at {tmp_path}/attempt=1.log."
    )
    assert first_lines(tmp_path, TaskInstanceState.RUNNING, monkeypatch) == ["::endgroup::"]


def test_both_stacks_read_logs_so() -> None:
    """By the settings that they share; all else is as Airflow has it."""
    assert (
        shared_settings.airflow()["AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS"] == f"{task_logs.__name__}.CONFIG"
    )
    assert task_logs.CONFIG["handlers"]["task"]["class"] == f"{task_logs.__name__}.SharedFolderHandler"
    assert task_logs.CONFIG["loggers"]["airflow.task"]["handlers"] == ["task"]
