"""How the command ends."""

import errno
import sys
from pathlib import Path

import pytest
import typer

from headrace import cli
from headrace.cli import arguments, pipelines
from headrace.errors import Exit, RedError, UnavailableError
from headrace.ledger.folder import Folder
from headrace.local import connections
from headrace.local.embedded import stack
from headrace.verify.stored import PAGE, store
from tests.headrace.report.examples import report


def code_of(raised: BaseException, monkeypatch: pytest.MonkeyPatch) -> object:
    """How the command ends when a verb raises something."""

    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(stack, "down", fail)
    monkeypatch.setattr(sys, "argv", ["headrace", "down"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (RedError("not green"), Exit.RED, "not green"),
        (UnavailableError("port taken"), Exit.UNAVAILABLE, "port taken"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), Exit.UNAVAILABLE, "The disk is full: /x"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), Exit.UNAVAILABLE, "/x cannot be written"),
    ],
)
def test_known_failures_are_one_message_and_a_code(
    raised: BaseException,
    code: Exit,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No traceback is shown."""
    assert code_of(raised, monkeypatch) == code
    assert said in capsys.readouterr().err


def test_an_interrupt_is_a_code_and_nothing_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who presses Ctrl-C knows what happened."""
    assert code_of(KeyboardInterrupt(), monkeypatch) == Exit.INTERRUPTED
    assert capsys.readouterr().err == ""


def test_a_green_report_counts_once_its_run_has_concluded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was green when it was checked may have changed before the run came to its end."""
    folder = Folder(tmp_path)
    monkeypatch.setattr(pipelines, "load", lambda _: (None, folder))
    green = report()
    store(folder, green)
    with pytest.raises(typer.Exit) as ended:
        pipelines.report("p")
    assert ended.value.exit_code == Exit.RED
    assert "This report does not stand" in capsys.readouterr().out
    (folder.report(green.run) / PAGE).touch()
    pipelines.report("p")
    assert "The whole account: " in capsys.readouterr().out


def test_an_address_that_is_given_is_all_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stack is asked, which may be down, and no login of its Kafka is shown to another one."""

    def ask(_: object) -> dict[str, str]:
        raise AssertionError("asked")

    monkeypatch.setattr(connections, "kafka_config", ask)
    assert arguments.kafka_config("elsewhere:9092") == {"bootstrap.servers": "elsewhere:9092"}


def test_windows_is_told_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the two ways that work there."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == Exit.UNAVAILABLE
    assert "WSL" in capsys.readouterr().err
