"""What a long task says while it works."""

import logging
import threading

import pytest

from headrace import progress
from headrace.progress import Progress

WITHIN = 60.0
"""Seconds after which a thread has not done what it was to do."""


class Listener(logging.Handler):
    """Waits for lines of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.heard = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        with self.heard:
            self.lines.append(record.getMessage())
            self.heard.notify_all()

    def wait_for(self, line: str) -> None:
        """Return once a line was there."""
        with self.heard:
            assert self.heard.wait_for(lambda: line in self.lines, WITHIN), self.lines


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    """The log of work of which every look gives a line."""
    monkeypatch.setattr(progress, "EVERY", 0.0)
    log, made = logging.Logger("work", logging.INFO), Listener()  # noqa: LOG001, known to this test alone
    log.addHandler(made)
    monkeypatch.setattr(progress, "log", log)
    return made


def test_a_task_says_what_it_is_doing(listener: Listener) -> None:
    """One thing after the other, as the work goes on."""
    with Progress("starting") as work:
        listener.wait_for("starting")
        work.now("reading")
        listener.wait_for("reading")
        work.doing = lambda: "3 of 5"
        listener.wait_for("3 of 5")


def test_looking_may_fail(listener: Listener) -> None:
    """Of a Spark that is about to end there may be nothing to see. The work goes on, and so do the looks."""
    fails = threading.Event()

    def fail() -> str:
        fails.set()
        raise ConnectionError

    with Progress("starting") as work:
        work.doing = fail
        assert fails.wait(WITHIN)
        work.now("writing")
        listener.wait_for("writing")


def test_work_that_has_ended_says_no_more(listener: Listener) -> None:
    """And does not wait for a look that takes long."""
    looks, may_end = threading.Event(), threading.Event()

    def look() -> str:
        looks.set()
        may_end.wait(WITHIN)
        return "too late"

    with Progress("starting") as work:
        work.doing = look
        assert looks.wait(WITHIN)
    may_end.set()
    for thread in threading.enumerate():
        if thread.name == "progress":
            thread.join(WITHIN)
    assert "too late" not in listener.lines
