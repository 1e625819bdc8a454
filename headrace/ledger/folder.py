"""Where the things of one pipeline lie, and the lock that says who may write there."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from headrace.errors import BusyError
from headrace.ledger.names import quoted

log = logging.getLogger("headrace")

MICRO_BATCH = "micro_batch="
ENTRY = "_entry.json"


@dataclass(frozen=True)
class Folder:
    """`data/<pipeline>`: every path below it has its name here."""

    root: Path

    @property
    def events(self) -> Path:
        """Kept records, one folder per micro-batch, each with its entry."""
        return self.root / "events"

    @property
    def quarantine(self) -> Path:
        """Unusable records, one folder per micro-batch that had any."""
        return self.root / "quarantine"

    @property
    def checkpoint(self) -> Path:
        """Spark's own."""
        return self.root / "checkpoint"

    @property
    def staging(self) -> Path:
        """Attempts that are not published yet."""
        return self.root / "staging"

    @property
    def identity(self) -> Path:
        """What belongs together."""
        return self.root / "identity.json"

    @property
    def streamed(self) -> Path:
        """The last stream that ran to its end."""
        return self.root / "streamed.json"

    @property
    def verified(self) -> Path:
        """How far verify was green."""
        return self.root / "verified.json"

    @property
    def kept_per_minute(self) -> Path:
        """How many verified records were kept per minute, if the pipeline file asks for it."""
        return self.root / "kept_per_minute.parquet"

    @property
    def receipts(self) -> Path:
        """One file per batch of the demo producer."""
        return self.root / "receipts"

    @property
    def reports(self) -> Path:
        """One folder per verify run."""
        return self.root / "reports"

    def receipt(self, run: str) -> Path:
        """The receipt of a run."""
        return self.receipts / f"{quoted(run)}.json"

    def report(self, run: str) -> Path:
        """The folder of a verify run's report."""
        return self.reports / quoted(run)

    def published(self, kind: Path, micro_batch: int) -> Path:
        """The folder of a micro-batch below `events` or `quarantine`."""
        return kind / f"{MICRO_BATCH}{micro_batch}"

    def micro_batches(self) -> list[int]:
        """Ids of the micro-batches that have an entry, whatever is in it, in order."""
        found = (micro_batch_of(path.parent) for path in self.events.glob(f"*/{ENTRY}"))
        return sorted(micro_batch for micro_batch in found if micro_batch is not None)

    LOCK = ".lock"
    """Held while a stream writes, or the folder is moved."""
    PRODUCER_LOCK = ".producer.lock"
    """Held while a batch is produced: an earlier try that lives on would send what a later one sends again."""
    VERIFIED_LOCK = ".verified.lock"
    """Held while `verified.json` is read and written anew."""
    BRIEFLY = 30.0
    """Seconds to wait for a lock that nobody holds for long."""

    @contextmanager
    def locked(self, purpose: str, *, lock: str = LOCK, patience: float = 0.0) -> Iterator[None]:
        """Hold one of the folder's locks for as long as this process lives or the block lasts.

        The lock belongs to the process that writes (the Spark driver), since Airflow can lose a task whose driver lives on.
        Raises `BusyError` if somebody still holds it after `patience` seconds.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / lock
        with path.open("a+") as file:
            deadline = time.monotonic() + patience
            said = False
            while not _taken(file):
                file.seek(0)
                holder = file.read().strip() or "another process"
                if time.monotonic() >= deadline:
                    raise BusyError(f"{self.root} is in use by {holder}. Wait for it to end, or stop that process; trying again is safe.")
                if not said:
                    log.info("waiting for %s to end, %.0f s at most", holder, patience)
                    said = True
                time.sleep(0.2)
            if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                raise BusyError(f"{self.root} was moved aside at this moment (`headrace reset`). Trying again is safe.")
            file.seek(0)
            file.truncate()
            file.write(purpose)
            file.flush()
            yield

    def is_being_written(self) -> bool:
        """Whether a stream holds its lock at this moment."""
        path = self.root / self.LOCK
        if not path.exists():
            return False
        with path.open() as file:
            return not _taken(file, fcntl.LOCK_SH)


def _taken(file: TextIO, kind: int = fcntl.LOCK_EX) -> bool:
    """Try to lock a file; says whether it is ours now."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def micro_batch_of(folder: Path) -> int | None:
    """The micro-batch id in a folder's name, or `None` if the name is not of that form."""
    digits = folder.name.removeprefix(MICRO_BATCH)
    return int(digits) if folder.name.startswith(MICRO_BATCH) and digits.isdecimal() and str(int(digits)) == digits else None
