"""Verified receipts: the journal that says which they are, and their move out of the way.

The journal is what counts. Where a file is only says who reads it: those in `receipts/` are read by each stream and each verify run.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from headrace import documents
from headrace.ledger.entries import Sha256
from headrace.ledger.folder import Folder
from headrace.ledger.ranges import Positions
from headrace.ledger.receipts import Receipt, receipts


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of the journal: this receipt was verified when it had this content. A later line about the same run replaces it."""

    run: str
    sha256: Sha256


def journaled(folder: Folder) -> dict[str, str]:
    """Run → SHA-256 of each receipt that was verified."""
    known: dict[str, str] = {}
    for text in documents.content(folder.journal).splitlines() if folder.journal.exists() else ():
        with suppress(msgspec.DecodeError, UnicodeDecodeError):  # torn by a power cut: that receipt was not moved and is verified again
            line = msgspec.json.decode(text, type=Line)
            known[line.run] = line.sha256
    return known


def add(folder: Folder, proven: Mapping[str, str]) -> bool:
    """Make receipts verified; returns whether one of them was not. The caller holds the lock of `verified.json`, and writes that afterwards.

    First the lines are appended to the journal and synced, then each file is renamed. A crash in between is harmless:

    - Journaled and not moved: the receipt is proven, also if its records leave Kafka now. The next run verifies it once more and moves it.
    - Moved, and `verified.json` not written: the receipt is proven. Its micro-batches are verified once more, and so is the receipt if an
      earlier red named it.
    - Moved and not journaled can't be: the line is on disk before the file moves.

    Args:
        folder: of the pipeline
        proven: run → SHA-256 of its receipt when it was checked
    """
    known = journaled(folder) if any(map(folder.is_verified, proven)) else {}
    new = {run: sha256 for run, sha256 in proven.items() if not folder.is_verified(run) or known.get(run) != sha256}
    if not new:
        return False
    documents.make_folder(folder.verified_receipts)
    with folder.journal.open("a+b") as file:
        if end := file.tell():
            file.seek(end - 1)
            file.write(b"" if file.read() == b"\n" else b"\n")  # ends a torn line
        file.write(_lines(new))
    documents.sync(folder.journal)
    _move({folder.receipt(run): folder.verified_receipt(run) for run in new})
    return True


def take_back(folder: Folder, ends: Positions) -> None:
    """Make the receipts unverified whose records do not all lie before these next offsets. Reads all receipts.

    The caller holds the lock of `verified.json`, and writes that afterwards: after a crash this is done again. The files move first, so that
    none is moved and not journaled.
    """
    moved = [receipt.run for receipt in receipts(folder, verified=True) if not _lies_before(receipt, ends)]
    _move({folder.verified_receipt(run): folder.unverified_receipt(run) for run in moved})
    unverified = {receipt.run for receipt in receipts(folder) if not _lies_before(receipt, ends)}
    known = journaled(folder)
    if known.keys() & unverified:
        documents.replace(folder.journal, _lines({run: sha256 for run, sha256 in known.items() if run not in unverified}))


def _lines(hashes: Mapping[str, str]) -> bytes:
    return b"".join(msgspec.json.encode(Line(run=run, sha256=sha256)) + b"\n" for run, sha256 in hashes.items())


def _move(paths: Mapping[Path, Path]) -> None:
    for path, target in paths.items():
        path.replace(target)
    for touched in sorted({each.parent for moved in paths.items() for each in moved}):
        documents.sync_directory(touched)


def _lies_before(receipt: Receipt, ends: Positions) -> bool:
    return all(landing.highest_offset < ends.get(landing.topic, {}).get(landing.partition, 0) for landing in receipt.landings)
