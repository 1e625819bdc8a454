"""The report on a terminal."""

import io
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from rich.console import Console

from headrace.report.console import show, task_log
from headrace.report.readers import commands
from headrace.terminal import LOG_WIDTH
from headrace.verify.result import Balance, InvariantState, Report, Sample, State, Undeclared
from tests.headrace.report.examples import HOSTILE, NOW, finding, invariant, report, reports


def shown(what: Report, *, samples: bool = True, encoding: str = "utf-8") -> str:
    """What `show` writes to something that is no terminal."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="")
    show(what, Console(file=file, width=LOG_WIDTH), samples=samples)
    file.flush()
    return raw.getvalue().decode(encoding)


@given(reports)
@settings(max_examples=50, deadline=None)
def test_any_report_prints_without_control_characters(anything: Report) -> None:
    """Away from a terminal there is no colour code, and no value brings one.

    A log that can hold only ASCII gets the report all the same.
    """
    categories = {unicodedata.category(c) for c in shown(anything) if c not in "\n\u200c\u200d"}
    assert categories.isdisjoint({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
    shown(anything, encoding="ascii")


@pytest.mark.parametrize("value", ["[red]markup[/red]", "[/]", ":smile:", "<script>"])
def test_values_are_printed_as_they_are(value: str) -> None:
    """What looks like rich's markup is a value like any other."""
    samples = [Sample(topic="t", partition=0, offset=0, timestamp=NOW, key=None, values={"value": value})]
    assert f"t-0 @ 0  {value}\n" in shown(report(samples=samples))


@pytest.mark.parametrize("value", [value for value in HOSTILE if value])
def test_task_logs_hold_no_payload(value: str) -> None:
    """Without samples nothing of a record is printed."""
    samples = [
        Sample(topic="t", partition=0, offset=7_777_777, timestamp=NOW, key=value, values={"value": value})
    ]
    assert shown(report(samples=samples), samples=False) == shown(report(samples=[]), samples=False)


def test_undeclared_fields_are_named_where_samples_are() -> None:
    """Names of fields come from records: a log that others read only counts them."""
    found = report(undeclared=Undeclared(sample=10_000, fields=["device", "readings"], more=False))
    assert "\nnot declared: device, readings (in a sample of 10,000 records)\n" in shown(found)
    log = shown(found, samples=False)
    assert "device" not in log
    assert "\nnot declared: 2 fields, which the HTML report names (in a sample of 10,000 records)\n" in log


def test_lines_fit_a_task_log() -> None:
    """No line is longer than the log is wide but commands and paths, which are there to be copied.

    None ends in blanks but a table's.
    """
    lines = shown(report(description="x " * 250, events="e" * 500)).splitlines()
    assert all(
        len(line) <= LOG_WIDTH for line in lines if not line.startswith("  .venv") and "eeee" not in line
    )
    assert any("e" * 500 in line for line in lines)


def test_green_report_fits_a_screen() -> None:
    """Outcome, balance, receipt, invariants, samples and commands take at most 40 lines."""
    text = shown(report(samples=report().samples * 9))
    assert len(text.splitlines()) <= 40
    assert text.startswith("Green: all 1,000 records are accounted for\n")
    assert "receipt manual__first: 1,000 wanted -> 1,000 landed (read back whole)" in text
    assert text.count("test-topic-0 @ 3") == 5


def test_balance_is_aligned_and_summed() -> None:
    """Columns of the balance end at the same place, the last row is the total."""
    lines = shown(report()).splitlines()
    table = lines[[line.startswith("partition ") for line in lines].index(True) :]
    rows = [
        line.rstrip()
        for line in table
        if line.startswith(("partition ", "test-topic-", "total")) and " @ " not in line
    ]
    assert rows[-1].split() == ["total", "1,002", "1,000", "286", "700", "14", "2"]
    assert len({len(row) for row in rows}) == 1


def test_broken_partition_is_shown_even_among_many() -> None:
    """The partition that does not add up comes first and is named, whatever its number."""
    good = report().balance[0]
    bad = Balance(
        topic="t", partition=99, from_offset=0, until_offset=10, kept=9, filtered=0, quarantined=0, gaps=0
    )
    text = shown(report(state=State.RED, balance=[good] * 99 + [bad]))
    assert "t, partition 99, does not add up: 1 offset unaccounted for." in text
    assert "76 more partitions" in text


def test_broken_invariant_says_where_and_what_to_do() -> None:
    """A finding is printed with its place, followed by the way out, before figures that may look perfect.

    Files first, whose damage explains the rest.
    """
    broken = invariant(6, InvariantState.BROKEN, [finding()])
    text = " ".join(shown(report(state=State.RED, invariants=[broken])).split())
    assert "I6 BROKEN title of 6" in text
    assert "[test-topic-1 offsets 120 to 122]" in text
    assert "Do: " in text
    assert "headrace reset important_messages" in text
    assert text.index("I6 BROKEN") < text.index("partition offsets records")
    both = shown(
        report(state=State.RED, invariants=[broken, invariant(8, InvariantState.BROKEN, [finding()])])
    )
    assert both.index("I8 BROKEN") < both.index("I6 BROKEN")


def test_terminal_gets_colours() -> None:
    """On a terminal the outcome has a colour."""
    file = io.StringIO()
    show(report(), Console(file=file, force_terminal=True, color_system="standard", width=120))
    assert "\x1b[1;32mGreen" in file.getvalue()


def test_task_log_ignores_what_the_environment_says_of_terminals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log has no colour codes even where colours are forced."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    show(report(), task_log())
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["data/important_messages/events", 'it\'s a $HOME of `ours`/"events"'])
def test_commands_survive_the_shell(folder: str) -> None:
    """What is printed to be copied reaches Python as it is meant, whatever the folder is called."""
    for command in commands(folder):
        told = command.replace(
            ".venv/bin/python -c",
            f"{sys.executable} -c 'import ast, sys; ast.parse(sys.argv[1]); print(sys.argv[1])'",
        )
        printed = subprocess.run(["sh", "-c", told], capture_output=True, text=True, check=True).stdout
        assert repr(folder)[1:-1] in printed or repr(folder + "/**/*.parquet")[1:-1] in printed
