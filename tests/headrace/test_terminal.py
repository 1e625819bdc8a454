"""The console that the command prints to."""

import io
import subprocess
import sys

import pytest

from headrace import terminal
from headrace.terminal import Terminal, occasionally

WORK = """
from headrace.terminal import Terminal
terminal = Terminal()
for _ in range(10_000):
    terminal.print("a line of a report")
raise SystemExit(7)
"""


def test_a_reader_who_has_gone_is_no_outcome() -> None:
    """What is piped into `head` goes on to its end, and exits with what came of it."""
    with subprocess.Popen(
        [sys.executable, "-c", WORK], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"a line of a report\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 7


@pytest.mark.parametrize(("seconds", "told"), [(0.0, [1, 2]), (1e9, [])])
def test_progress_is_told_now_and_then(
    seconds: float, told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with each step, of which there may be thousands, and not at all of what is quick."""
    monkeypatch.setattr(terminal, "EVERY", seconds)
    heard: list[int] = []
    tell = occasionally(heard.append)
    for done in (1, 2):
        tell(done)
    assert heard == told


@pytest.mark.parametrize(("columns", "width"), [(None, 120), ("90", 90)])
def test_a_log_has_room_for_a_table_of_millions(
    columns: str | None, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless somebody says how wide it is: 80 characters would break a partition's name in two."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    assert Terminal(file=io.StringIO()).width == width
