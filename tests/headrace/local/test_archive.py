"""When the archive of Spark's classes is made."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from headrace.local import archive
from headrace.local.services import Supervisor
from headrace.settings import Settings


def test_it_is_made_once_also_if_another_demo_is_green_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that makes it is one of the stack."""
    settings = Settings.from_environment({"HEADRACE_HOME": str(tmp_path)})
    command = ["java"]
    monkeypatch.setattr(Supervisor, "is_running", lambda _: True)
    monkeypatch.setattr(Supervisor, "processes", lambda _: [SimpleNamespace(cmdline=lambda: command)])
    assert archive.is_due(settings)
    command[:] = ["python", "-m", archive.MODULE, "dags/important_messages.toml"]
    assert not archive.is_due(settings)
