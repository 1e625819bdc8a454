"""The console that the command prints to, and progress where there is none."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rich.console import Console

LOG_WIDTH = 120
"""Characters of a line where the width is not known."""

EVERY = 10.0
"""Seconds between two lines of progress."""


def occasionally(say: Callable[[int], None]) -> Callable[[int], None]:
    """Pass on how much is done, but not again before some seconds have passed."""
    last = time.monotonic()

    def progress(done: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= EVERY:
            last = now
            say(done)

    return progress


class Terminal(Console):
    """Away from a terminal its lines are as long as those of a task's log.

    A reader that is gone (`headrace verify NAME | head`) ends the printing, not the work, and is no outcome:
    rich would exit with 1, which means red.
    """

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = LOG_WIDTH

    def on_broken_pipe(self) -> None:
        """Print into nothing from now on."""
        with suppress(SystemExit):
            super().on_broken_pipe()
