"""Where the things of one pipeline lie, and the lock that says who may write there."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TextIO

from headrace import documents
from headrace.errors import BusyError
from headrace.ledger.names import quoted, run_digits

log = logging.getLogger("headrace")

MICRO_BATCH = "micro_batch="
ENTRY = "_entry.json"


@dataclass(frozen=True)
class Folder:
    """`data/<pipeline>`: every path below it has its name here."""

    root: Path

    @cached_property
    def events(self) -> Path:
        """Kept records, one folder per micro-batch, each with its entry."""
        return self.root / "events"

    @cached_property
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
        """What verify proved."""
        return self.root / "verified.json"

    @property
    def kept_per_minute(self) -> Path:
        """How many verified records were kept per minute, if the pipeline file asks for it."""
        return self.root / "kept_per_minute.parquet"

    @property
    def receipts(self) -> Path:
        """One file per batch of the demo producer that is not verified yet."""
        return self.root / "receipts"

    @property
    def verified_receipts(self) -> Path:
        """The verified receipts, each named by the first digits of its records' keys."""
        return self.receipts / "verified"

    @property
    def journal(self) -> Path:
        """One line per receipt that was verified."""
        return self.receipts / "verified.jsonl"

    @property
    def expired(self) -> Path:
        """One line per verified receipt that was removed because it was old enough."""
        return self.receipts / "expired.jsonl"

    @property
    def reports(self) -> Path:
        """One folder per verify run."""
        return self.root / "reports"

    @property
    def report_number(self) -> Path:
        """The highest number of all reports."""
        return self.reports / ".number"

    @property
    def started(self) -> Path:
        """The last stream that started."""
        return self.root / "started.json"

    def receipt(self, run: str) -> Path:
        """The receipt of a run: where it is, or where it is to be written."""
        unverified, verified = self.unverified_receipt(run), self.verified_receipt(run)
        return verified if verified.exists() and not unverified.exists() else unverified

    def unverified_receipt(self, run: str) -> Path:
        """Where the receipt of a run is until it is verified."""
        return self.receipts / f"{quoted(run)}.json"

    def verified_receipt(self, run: str) -> Path:
        """Where the receipt of a run is once it is verified."""
        return self.verified_receipts / f"{run_digits(self.root.name, run)}.json"

    def is_verified(self, run: str) -> bool:
        """Whether the receipt of a run is among the verified ones."""
        return self.receipt(run) == self.verified_receipt(run)

    def report(self, run: str) -> Path:
        """The folder of a verify run's report."""
        return self.reports / quoted(run)

    def published(self, kind: Path, micro_batch: int) -> Path:
        """The folder of a micro-batch below `events` or `quarantine`."""
        return kind / f"{MICRO_BATCH}{micro_batch}"

    def micro_batches(self) -> list[int]:
        """Numbers of the published micro-batches, in order, by the names of their folders alone.

        Each came into place with its entry in it.
        """
        try:
            names = os.listdir(self.events)  # noqa: PTH208, a year of quarter hours has 35,000 of them
        except FileNotFoundError:
            return []
        return sorted(number for name in names if (number := _number_in(name)) is not None)

    LOCK = ".lock"
    """Held while a stream writes, or the folder is moved."""
    PRODUCER_LOCK = ".producer.lock"
    """Held while a batch is produced: an earlier try that lives on would send what a later one sends again.
    """
    VERIFIED_LOCK = ".verified.lock"
    """Held while `verified.json` is read and rewritten."""
    BRIEFLY = 30.0
    """Seconds to wait for a lock that is only held briefly."""

    @contextmanager
    def locked(self, purpose: str, *, lock: str = LOCK, timeout: float = 0.0) -> Iterator[None]:
        """Hold one of the folder's locks for as long as this process lives or the block lasts.

        The lock belongs to the process that writes (the Spark driver), since Airflow can lose a task whose
        driver lives on. Raises `BusyError` if another process still holds it after `timeout` seconds.
        """
        documents.make_folder(self.root)
        path = self.root / lock
        with path.open("a+") as file:
            deadline = time.monotonic() + timeout
            said = False
            while not _taken(file):
                file.seek(0)
                holder = file.read().strip() or "another process"
                if time.monotonic() >= deadline:
                    raise BusyError(
                        f"{self.root} is in use by {holder}. Wait for it to end, or stop that process; trying again is safe."
                    )
                if not said:
                    log.info("waiting for %s to end, %.0f s at most", holder, timeout)
                    said = True
                time.sleep(0.2)
            if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                raise BusyError(
                    f"{self.root} was moved aside at this moment (`headrace reset`). Trying again is safe."
                )
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
    return _number_in(folder.name)


def _number_in(name: str) -> int | None:
    digits = name[len(MICRO_BATCH) :]
    if not name.startswith(MICRO_BATCH) or not (digits.isascii() and digits.isdecimal()):
        return None
    return int(digits) if digits == "0" or digits[0] != "0" else None
