"""Verified receipts: the journal that says which they are, their move out of the way, and their end.

The journal is what counts. Where a file is only says who reads it: those in `receipts/` are read by each
stream and each verify run. A receipt that was kept for long enough is removed; a line in `expired.jsonl`
stays: its batch is not sent again, and is no longer checked.
"""

import hashlib
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from headrace import documents
from headrace.errors import LedgerError
from headrace.kafka.offsets import Offsets
from headrace.ledger.entry import Sha256
from headrace.ledger.folder import Folder
from headrace.ledger.receipts import Receipt, receipts


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line about a receipt: it was verified when it had this content.

    A later line about the same run replaces it.
    """

    run: str
    sha256: Sha256


def journaled(folder: Folder) -> dict[str, str]:
    """Run → SHA-256 of each receipt that was verified and has not expired."""
    return _read(folder.journal)


def expired(folder: Folder) -> set[str]:
    """The runs whose receipts have expired.

    Reads a line for each, so this is for looks at the whole history.
    """
    return {run for run in _read(folder.expired) if not folder.receipt(run).exists()}


def has_expired(folder: Folder, run: str) -> bool:
    """Whether the receipt of a run was verified, and removed when it was old enough.

    One that was put back counts again.
    """
    if folder.receipt(run).exists() or not folder.expired.exists():
        return False
    # Searched for first, since a line is added for each run that there ever was.
    encoded = msgspec.json.encode(run)
    return encoded in documents.content(folder.expired) and run in _read(folder.expired)


def is_settled(folder: Folder, run: str) -> bool:
    """Whether the receipt of a run was verified, be it still there or not."""
    return folder.is_verified(run) or has_expired(folder, run)


def add(folder: Folder, proven: Mapping[str, str]) -> bool:
    """Make receipts verified; returns whether one of them was not.

    The caller holds the lock of `verified.json`, and writes that afterwards.

    First the lines are appended to the journal and synced, then each file is renamed. A crash in between is
    harmless:

    - Journaled and not moved: the receipt is proven, also if its records leave Kafka now. The next run
      verifies it once more and moves it.
    - Moved, and `verified.json` not written: the receipt is proven. Its micro-batches are verified once more,
      and so is the receipt if an earlier red named it.
    - Moved and not journaled can't be: the line is on disk before the file moves.

    Args:
        folder: of the pipeline
        proven: run → SHA-256 of its receipt when it was checked
    """
    known = journaled(folder) if any(map(folder.is_verified, proven)) else {}
    new = {
        run: sha256
        for run, sha256 in proven.items()
        if not folder.is_verified(run) or known.get(run) != sha256
    }
    if not new:
        return False
    documents.make_folder(folder.verified_receipts)
    _append(folder.journal, new)
    _move({folder.receipt(run): folder.verified_receipt(run) for run in new})
    for run in new:
        os.utime(folder.verified_receipt(run))  # from now on it is kept for as long as the pipeline says
    return True


def expire(folder: Folder, before: float, at_once: float, keep: Collection[str]) -> int:
    """Remove the receipts that were verified before a moment; returns how many.

    The caller holds the lock of `verified.json`.

    One that is not what the journal says stays: it is no proof, and `headrace verify` says so. The line in
    `expired.jsonl` is synced before a file is removed, and the journal forgets it last. A crash in between is
    harmless:

    - Both the line and the file: the file counts, and is removed the next time.
    - Neither file nor forgotten by the journal: the line counts, and the journal forgets it the next time.
    - Neither file nor line can't be; a receipt that is missing without a line was lost, which is red.

    Args:
        folder: of the pipeline
        before: seconds since 1970
        at_once: nothing is done unless one was verified before this moment, so that most runs only list the
            folder
        keep: runs whose receipts stay, because verify reads them again or the last stream names them
    """
    if not folder.verified_receipts.exists():
        return 0
    with os.scandir(folder.verified_receipts) as entries:
        verified_at = {
            Path(entry.path): entry.stat().st_mtime for entry in entries if entry.name.endswith(".json")
        }
    if not any(at < at_once for at in verified_at.values()):
        return 0
    known, lines = journaled(folder), _read(folder.expired)
    old = {}
    for path in (path for path, at in verified_at.items() if at < before):
        with suppress(LedgerError):
            data = documents.content(path)
            run, sha256 = documents.decode(path, data, Receipt).run, hashlib.sha256(data).hexdigest()
            if run not in keep and known.get(run) == sha256 and folder.receipt(run) == path:
                old[run] = sha256
    if new := {run: sha256 for run, sha256 in old.items() if lines.get(run) != sha256}:
        _append(folder.expired, new)
    for run in old:
        folder.verified_receipt(run).unlink()
    documents.sync_directory(folder.verified_receipts)
    gone = {*lines, *new}
    rest = {run: sha256 for run, sha256 in known.items() if run not in gone or folder.receipt(run).exists()}
    if rest != known:
        documents.replace(folder.journal, _lines(rest))
    return len(old)


def take_back(folder: Folder, ends: Offsets) -> None:
    """Make the receipts unverified whose records do not all lie before these next offsets.

    Reads all receipts.

    The caller holds the lock of `verified.json`, and writes that afterwards: after a crash this is done
    again. The files move first, so that none is moved and not journaled.
    """
    moved = [receipt.run for receipt in receipts(folder, verified=True) if not _lies_before(receipt, ends)]
    _move({folder.verified_receipt(run): folder.unverified_receipt(run) for run in moved})
    unverified = {receipt.run for receipt in receipts(folder) if not _lies_before(receipt, ends)}
    known = journaled(folder)
    if known.keys() & unverified:
        documents.replace(
            folder.journal, _lines({run: sha256 for run, sha256 in known.items() if run not in unverified})
        )


def _read(path: Path) -> dict[str, str]:
    """Run → SHA-256, as the lines of a file say."""
    known: dict[str, str] = {}
    for text in documents.content(path).splitlines() if path.exists() else ():
        # Torn by a power cut: that receipt is where it was, and is looked at again.
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            line = msgspec.json.decode(text, type=Line)
            known[line.run] = line.sha256
    return known


def _append(path: Path, hashes: Mapping[str, str]) -> None:
    """Add lines to a file, and sync it."""
    with path.open("a+b") as file:
        if end := file.tell():
            file.seek(end - 1)
            file.write(b"" if file.read() == b"\n" else b"\n")  # ends a torn line
        file.write(_lines(hashes))
    documents.sync(path)


def _lines(hashes: Mapping[str, str]) -> bytes:
    return b"".join(
        msgspec.json.encode(Line(run=run, sha256=sha256)) + b"\n" for run, sha256 in hashes.items()
    )


def _move(paths: Mapping[Path, Path]) -> None:
    for path, target in paths.items():
        path.replace(target)
    for touched in sorted({each.parent for moved in paths.items() for each in moved}):
        documents.sync_directory(touched)


def _lies_before(receipt: Receipt, ends: Offsets) -> bool:
    return all(landing.highest_offset < ends.get(landing.place, 0) for landing in receipt.landings)
