"""How the command ends."""

import errno
import json
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from headrace import __version__, cli
from headrace.cli import arguments, pipelines
from headrace.errors import BrokerError, Exit, RedError, UnavailableError, UsageError
from headrace.kafka import client
from headrace.kafka.offsets import Offsets, TopicPartition
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
    assert "This report is not final" in capsys.readouterr().out
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


def typed(*words: str) -> Result:
    """What the command says and how it ends, on a terminal of 80 columns."""
    return CliRunner().invoke(cli.app, list(words), terminal_width=80, env={"COLUMNS": "80"})


def test_the_version_is_shown() -> None:
    """Before anything is asked or loaded."""
    assert typed("--version").output == f"headrace {__version__}\n"


def test_help_groups_the_verbs_and_fits_a_terminal() -> None:
    """Four groups, at most 26 verbs, no line that is wider, and nothing that looks like markup is eaten."""
    said = typed("--help").output
    for panel in ("The stack", "Pipelines", "Proof and repair", "Kafka"):
        assert f"─ {panel} ─" in said
    verbs = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    assert 15 < len(verbs) <= 26
    for verb in verbs:
        page = typed(verb, "--help").output
        assert max(map(len, page.splitlines())) <= 80
    assert "[demo] section" in typed("demo", "--help").output


def test_names_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the shell asks for them."""
    monkeypatch.delenv("HEADRACE_DAGS", raising=False)
    asked = {"_HEADRACE_COMPLETE": "complete_bash", "COMP_WORDS": "headrace verify imp", "COMP_CWORD": "2"}
    result = CliRunner().invoke(cli.app, [], prog_name="headrace", env=asked)
    assert result.output.split() == ["important_messages"]


@pytest.mark.enable_socket
def test_a_pipeline_s_facts_are_json_for_a_program(tmp_path: Path) -> None:
    """The same that people read; without Kafka it says so."""
    environment = {"HEADRACE_DATA": str(tmp_path / "data"), "HEADRACE_HOME": str(tmp_path / "home")}
    arguments = ["check", "shop_orders", "--bootstrap-servers", "127.0.0.1:1", "--json"]
    said = json.loads(CliRunner().invoke(cli.app, arguments, env=environment).output)
    assert said["name"] == "shop_orders"
    assert said["kafka"]["is_checked"] is False
    assert set(said["topics"]) == {"orders-web", "orders-store"}
    listed = json.loads(CliRunner().invoke(cli.app, ["list", "--json"], env=environment).output)
    assert [row["state"] for row in listed] == ["never ran"] * 2
    result = CliRunner().invoke(cli.app, ["doctor", "--json"], env=environment)
    assert {each["name"] for each in json.loads(result.output) if not each["is_well"]} >= {"login"}
    assert result.exit_code == Exit.UNAVAILABLE


@pytest.mark.parametrize("there", [True, False])
def test_a_topic_is_looked_at_before_the_question(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked about a topic that is not there, and the question says how much it holds."""
    removed: list[str] = []

    class Cluster:
        def __init__(self, _: object) -> None:
            pass

        def require_topic(self, topic: str) -> None:
            if not there:
                raise UsageError(f"There is no topic {topic}.")

        def end(self, topics: list[str], *, committed: bool) -> Offsets:
            assert not committed
            return Offsets({TopicPartition(topics[0], 0): 50, TopicPartition(topics[0], 1): 7})

        def earliest(self, topics: list[str]) -> Offsets:
            return Offsets({TopicPartition(topics[0], 0): 20, TopicPartition(topics[0], 1): 0})

        def delete(self, topic: str) -> None:
            removed.append(topic)

    monkeypatch.setattr(client, "Kafka", Cluster)
    arguments = ["topics", "delete", "orders", "--bootstrap-servers", "k:1"]
    result = CliRunner().invoke(cli.app, arguments, input="y\n")
    assert removed == ["orders"] * there
    assert ("orders (2 partitions, 37 offsets)" in result.output) is there
    assert ("Go on?" in result.output) is there


@pytest.mark.enable_socket
def test_samples_are_announced_once_they_can_be_sent() -> None:
    """A broker that is down is said instead."""
    result = CliRunner().invoke(cli.app, ["produce", "shop_orders", "--bootstrap-servers", "127.0.0.1:1"])
    assert isinstance(result.exception, BrokerError)
    assert "One sample message" not in result.output
