"""The state folder."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from headrace.errors import Code, UnavailableError
from headrace.kafka.settings_file import kafka_file
from headrace.local import connections
from headrace.local.client.console import Say
from headrace.local.embedded import airflow, kafka, ports, readiness, stack
from headrace.local.embedded.layout import Layout
from headrace.local.embedded.services import Supervisor
from headrace.local.install import files
from headrace.settings import Settings


def test_a_new_folder_is_claimed(tmp_path: Path) -> None:
    """It is private, and says its version."""
    layout = Layout(tmp_path / "home", tmp_path / "java")
    stack.claim(layout)
    stack.claim(layout)
    assert layout.version.read_text() == stack.LAYOUT
    assert layout.home.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_was_there_before_is_private_from_then_on(tmp_path: Path) -> None:
    """Such as one that mkdir made, or an earlier version."""
    tmp_path.chmod(0o755)
    stack.claim(Layout(tmp_path, tmp_path / "java"))
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    """What is in there is left as it is."""
    (tmp_path / "version").write_text("0")
    with pytest.raises(UnavailableError, check=Code.OTHER_VERSION.fits):
        stack.claim(Layout(tmp_path, tmp_path / "java"))
    assert [path.name for path in tmp_path.iterdir()] == ["version"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """The message names the folder and the variable."""
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, check=Code.UNWRITTEN.fits):
        stack.claim(Layout(tmp_path / "file" / "home", tmp_path / "java"))


def test_a_full_disk_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says how much is missing."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=300_000_000))
    with pytest.raises(UnavailableError, check=Code.DISK_FULL.fits):
        stack.claim(Layout(tmp_path, tmp_path / "java"))


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("command", [stack.up, stack.down])
def test_a_password_that_a_killed_task_left_is_removed(
    command: Callable[[Settings, Say], None],
    runs: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At each start and stop, whether there is anything to start or stop or not."""
    settings = Settings.from_environment({"HEADRACE_HOME": str(tmp_path)})
    with kafka_file({"sasl.password": "secret"}, settings.home) as name:
        left = Path(name).with_stem(f"{Path(name).stem}-left")
        left.touch()
    monkeypatch.setattr(Supervisor, "is_running", lambda _: runs)
    monkeypatch.setattr(Supervisor, "stop", lambda _: None)
    monkeypatch.setattr(Supervisor, "states", lambda _: [])
    monkeypatch.setattr(Supervisor, "environment", lambda _: {})
    for step in (
        "_require_same",
        "waiting_for",
        "wait_until_ready",
        "_keep_connections",
        "_start",
        "prepare",
    ):
        monkeypatch.setattr(stack, step, lambda *_: [])
    monkeypatch.setattr(ports, "require_free", lambda _: None)
    command(settings, Say(Console(quiet=True)))
    assert not left.exists()


@pytest.mark.parametrize(
    ("state", "waits"),
    [
        ("a new database", False),
        ("the connections as they were written", False),
        ("another port", True),
        ("an older version's database", True),
    ],
)
def test_no_run_begins_with_a_connection_that_is_about_to_change(
    state: str,
    waits: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then the scheduler waits for it. Otherwise it starts with all others, which saves the time."""
    settings = Settings.from_environment({"HEADRACE_HOME": str(tmp_path)})
    layout, began = Layout.of(settings), list[str]()
    port = 19092 if state == "another port" else settings.kafka_port
    if state != "a new database":
        airflow.database(layout).parent.mkdir()
        airflow.database(layout).touch()
    if state not in {"a new database", "an older version's database"}:
        written = connections.embedded(replace(settings, kafka_port=port))
        files.write_private(
            layout.connections, json.dumps({name: one.digest for name, one in written.items()})
        )
    monkeypatch.setattr(kafka.Broker, "prepare", lambda _: None)
    monkeypatch.setattr(stack, "_migrate", lambda *_: None)
    monkeypatch.setattr(stack, "wait_until_ready", lambda *_: None)
    monkeypatch.setattr(stack, "_keep_connections", lambda *_: began.append("connections"))
    monkeypatch.setattr(Supervisor, "start", lambda *_: None)
    monkeypatch.setattr(Supervisor, "start_service", lambda _, name: began.append(name))
    stack._start(  # noqa: SLF001
        replace(settings, data=tmp_path / "data"),
        layout,
        Supervisor(layout.services),
        Say(Console(quiet=True)),
    )
    assert set(began) == {readiness.KAFKA, *airflow.SERVICES, stack.HOUSEKEEPING, "connections"}
    assert (began.index(airflow.SCHEDULER) > began.index("connections")) is waits
