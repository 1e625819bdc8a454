"""The console that the command prints to."""

import subprocess
import sys

WORK = """
from headrace.terminal import Terminal
terminal = Terminal()
for _ in range(10_000):
    terminal.print("a line of a report")
raise SystemExit(7)
"""


def test_a_reader_who_has_gone_is_no_outcome() -> None:
    """What is piped into `head` goes on to its end, and exits with what came of it."""
    with subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"a line of a report\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 7
