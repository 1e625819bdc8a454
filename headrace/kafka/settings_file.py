"""Kafka's settings, password included, on their way to another process.

In a file, since arguments are seen by everybody on a machine.

A file is locked while it is in use. One that is not was left by a process that was killed; the next one to
make such a file removes it, as the stack does when it starts and stops.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "headrace-kafka-"


@contextmanager
def kafka_file(config: Mapping[str, str], home: Path) -> Iterator[str]:
    """A file with such settings that only this user can read, for as long as the block lasts.

    It is below the state folder `home`.
    """
    folder = _make(home)
    with _alone(folder):
        _discard(folder)
        file = tempfile.NamedTemporaryFile("w", dir=folder, prefix=PREFIX, suffix=".json")  # noqa: SIM115  it outlives this block
        fcntl.flock(file, fcntl.LOCK_EX)
    with file:
        json.dump(dict(config), file)
        file.flush()
        yield file.name


def discard_left(home: Path) -> None:
    """Remove the files that no process uses any more."""
    if (folder := _below(home)).is_dir():
        with _alone(folder):
            _discard(folder)


def _below(home: Path) -> Path:
    return home / "private"


def _make(home: Path) -> Path:
    folder = _below(home)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    except OSError:
        # A checkout that may not be written, in an Airflow of the user's own: then it is where such files are
        # on this machine.
        return Path(tempfile.gettempdir())
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from taking a file that has just been made for one that was left."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _discard(folder: Path) -> None:
    for path in folder.glob(f"{PREFIX}*"):
        with suppress(OSError), path.open() as file:  # in use, or another user's
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
