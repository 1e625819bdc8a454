"""What a long task says of itself while it works."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

log = logging.getLogger("headrace")

EVERY = 30.0
"""Seconds between two lines."""


class Progress:
    """Says every `EVERY` seconds what is being done, until it is ended.

    It only looks: the work neither waits for it, nor does it matter to the work if looking fails.

    Attributes:
        doing: Gives the line; exchanged as the work goes on.
    """

    def __init__(self, doing: str) -> None:
        self.doing: Callable[[], str] = lambda: doing
        self._has_ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._go_on, name="progress", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def now(self, doing: str) -> None:
        """What is being done from now on."""
        self.doing = lambda: doing

    def end(self) -> None:
        """Say no more."""
        self._has_ended.set()

    def _go_on(self) -> None:
        while not self._has_ended.wait(EVERY):
            with suppress(Exception):
                line = self.doing()
                if not self._has_ended.is_set():
                    log.info("%s", line)
