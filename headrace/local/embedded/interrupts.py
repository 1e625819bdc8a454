"""One start or stop of the stack at a time, and none that is half done."""

import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Iterator

from headrace.local.client.console import Say
from headrace.local.embedded.layout import Layout


@contextlib.contextmanager
def locked(layout: Layout, say: Say) -> Iterator[None]:
    """Keep other commands from starting or stopping the same stack meanwhile; wait for one that does."""
    with layout.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            say.line(
                f"Another command (pid {file.read().strip() or 'unknown'}) is starting or stopping this stack; waiting for it to end."
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Finish what is in the block whatever the user presses."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's business
        return
    before = {
        number: signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
