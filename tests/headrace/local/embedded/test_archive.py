"""When the archive of Spark's classes is made."""

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from headrace.local import connections
from headrace.local.embedded import archive
from headrace.local.embedded.layout import Layout
from headrace.local.embedded.services import Supervisor
from headrace.settings import ROOT, Settings, read_kafka_config


def test_it_is_made_once_also_if_another_demo_is_green_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that makes it is one of the stack."""
    settings = Settings.from_environment({"HEADRACE_HOME": str(tmp_path)})
    command = ["java"]
    monkeypatch.setattr(Supervisor, "is_running", lambda _: True)
    monkeypatch.setattr(Supervisor, "processes", lambda _: [SimpleNamespace(cmdline=lambda: command)])
    assert archive.is_due(settings)
    command[:] = ["python", "-m", archive.MODULE, "dags/important_messages.toml"]
    assert not archive.is_due(settings)


def test_its_stream_reads_the_kafka_of_the_dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another one there are no such topics, and it would be tried after each green run again."""
    settings = Settings.from_environment({"HEADRACE_HOME": str(tmp_path)})
    classes, login = (
        Layout.of(settings).spark_classes,
        {"bootstrap.servers": "elsewhere:9092", "sasl.password": "secret"},
    )
    classes.parent.mkdir()

    def submit(command: list[str], **_: object) -> SimpleNamespace:
        assert read_kafka_config(Path(command[command.index("--kafka") + 1])) == login
        made = re.search(r"-XX:ArchiveClassesAtExit=([^\"]+)", " ".join(command))
        assert made
        Path(made[1]).touch()
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(connections, "kafka_config", lambda _: login)
    monkeypatch.setattr(subprocess, "run", submit)
    monkeypatch.setattr(archive, "use", lambda _: None)
    archive.make(settings, ROOT / "dags" / "important_messages.toml")
    assert classes.exists()
