"""Reports that verify runs wrote, which of them account for an ingest run, and which are no longer needed."""

import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from enum import StrEnum
from math import inf
from pathlib import Path
from typing import TypeVar

import msgspec

from headrace import documents
from headrace.errors import Code, LedgerError, UsageError
from headrace.ledger.folder import ENTRY, Folder, micro_batch_of
from headrace.ledger.progress import entry_sha256, read_verified
from headrace.verify.cover import Cover
from headrace.verify.result import Report

PAGE = "report.html"
DOCUMENT = "report.json"
BY_HAND = "by_hand__"
"""How the names of the reports start that `headrace verify` writes."""

PartT = TypeVar("PartT")


class Origin(msgspec.Struct):
    """What of an entry says who published it."""

    run: str


def store(folder: Folder, report: Report) -> None:
    """Write a report's document.

    A page beside it is that of an earlier report of the same name; the new one follows when its outcome is
    certain.
    """
    (folder.report(report.run) / PAGE).unlink(missing_ok=True)
    documents.write(folder.report(report.run) / DOCUMENT, report)


def highest_number(folder: Folder) -> int:
    """The highest number of all reports; 0 before the first."""
    try:
        return int(folder.report_number.read_text())
    except (OSError, ValueError):
        return max(
            (cover.number for path in _documents(folder) if (cover := _decoded(path, Cover))), default=0
        )


class Of(StrEnum):
    """Which runs a name can be of.

    An ingest and a verify run that begin at the same tick of a schedule have the same.
    """

    INGEST = "ingest"
    VERIFY = "verify"
    EITHER = "either"


def find(folder: Folder, run: str | None) -> tuple[Path, Report]:
    """The newest report, that of a verify run, or the one that accounts for an ingest run.

    A newer red about the same records is returned instead.

    Raises `UsageError` if there is none, `LedgerError` where a red is gone or can't be read (`_known`).
    """
    found = _newest(folder) if run is None else of_run(folder, run)
    if found is None:
        raise UsageError(
            f"There is no report{'' if run is None else f' of run {run!r}'} in {folder.reports}. `headrace verify {folder.root.name}` writes one."
        )
    return found, documents.read(found, Report)


def of_run(folder: Folder, run: str, of: Of = Of.EITHER) -> Path | None:
    """The document of a verify run, or the newest that accounts for an ingest run, verify DAG's first.

    But of the newest reports about each of its micro-batches and receipts, a red one wins. A newer green
    report about the same items settles it. If it names none (a file that belongs to no entry, say), any newer
    green does, since every run looks at that.

    Raises `LedgerError` where a red is gone or can't be read (`_known`).
    """
    own = folder.report(run) / DOCUMENT
    known = _known(folder)
    mine = _decoded(own, Cover) if own.exists() and of is not Of.INGEST else None
    items: set[int | str] = mine.items if mine else set()
    if of is not Of.VERIFY:
        items |= {run, *_published_by(folder, run)}
    entries = {item: entry_sha256(folder, item) for item in items if isinstance(item, int)}
    settled = next((cover.number for cover, _ in known if not cover.doubts), 0)

    def is_red(cover: Cover, item: int | str) -> bool:
        return cover.doubts and (cover.seen >= settled or cover.names(item))

    def is_of_another(cover: Cover, item: int | str) -> bool:
        """After ledger and checkpoint were put back from a copy, another entry has the number."""
        return (
            isinstance(item, int)
            and None not in (entries[item], found := cover.hashes.entries.get(item))
            and found != entries[item]
        )

    def decides(cover: Cover, item: int | str) -> bool:
        return (cover.covers(item) and not is_of_another(cover, item)) or (
            cover.recheck.everything and cover.seen >= settled
        )

    newest = {
        item: max(
            (each for each in known if decides(each[0], item)), key=lambda each: each[0].looked, default=None
        )
        for item in items
    }
    red = [each for item, each in newest.items() if each and is_red(each[0], item)]
    if red:
        return max(red, key=lambda each: each[0].number)[1]
    if mine:
        return own
    covers = [
        (cover, path)
        for cover, path in known
        if any(cover.covers(item) and not is_of_another(cover, item) for item in items)
    ]
    by_the_dag = (path for cover, path in covers if not cover.run.startswith(BY_HAND) and not cover.doubts)
    return next(by_the_dag, covers[0][1] if covers else None)


def found_good(folder: Folder, after: int) -> set[int]:
    """Micro-batches that a run judged which began after this one, without a finding."""
    newer = [
        cover for path in _documents(folder) if (cover := _decoded(path, Cover)) and cover.number > after
    ]
    judged = [cover for cover in newer if not cover.recheck.everything and not cover.left_something_out]
    return {
        each.id
        for cover in judged
        for each in cover.micro_batches
        if not cover.names(each.id) and each.id not in cover.aged_out
    }


def discard(folder: Folder, run: str) -> None:
    """Remove a report, its page first: a page without its document would be of no known report."""
    for name in (PAGE, DOCUMENT):
        (folder.report(run) / name).unlink(missing_ok=True)


def expire(folder: Folder, before: float, at_once: float) -> int:
    """Remove the reports that were written before a moment and that nothing depends on; returns how many.

    Later reads ask for the newest report about each micro-batch and batch of a run (`of_run`), for the newest
    of all, for a red that nothing has settled (`find`), and for those that began after a run that ends now
    (`found_good`). So reports go in the order in which they looked (`Cover.looked`), the earliest first, up
    to the first that stays: one that is newer than that moment, the one with the highest number, or a red
    that names something at which no later report looked. Then of everything

    - that a report is left about, the report that decides is the same as before. No older green comes to
      light: it goes before the red.
    - that no report is left about, there is no report any more, and no red is lost that still counts: it
      names something, and stays; or it names nothing, then any newer green settles it (`of_run`), and as long
      as there is none all that are left are red.

    A crash in between leaves a shorter history, as another moment would have. Of one report the page goes
    first: a page without its document would be shown whatever newer reports say.

    The caller holds the lock of `verified.json`. The counter is in `.number` and in `verified.json`, and the
    highest number stays.

    Args:
        folder: of the pipeline
        before: seconds since 1970
        at_once: nothing is done unless one was written before this moment, so that most runs only list the
            folder
    """
    written_at = _written_at(folder)
    if not any(at < at_once for at in written_at.values()):
        return 0
    covers = {path: cover for path in written_at if (cover := _decoded(path, Cover))}
    earliest_first = sorted(covers, key=lambda path: covers[path].looked)
    kept = _unsettled({path: covers[path] for path in reversed(earliest_first)})
    kept |= set(sorted(covers, key=lambda path: covers[path].number)[-1:])
    going = list(
        itertools.takewhile(lambda path: written_at[path] < before and path not in kept, earliest_first)
    )
    # Damaged: no read asks for it.
    going += [path for path, at in written_at.items() if path not in covers and at < before]
    for path in going:
        for name in (PAGE, DOCUMENT):
            path.with_name(name).unlink(missing_ok=True)
        with suppress(OSError):  # something else is in there, and stays
            path.parent.rmdir()
    return len(going)


def _unsettled(latest_first: Mapping[Path, Cover]) -> set[Path]:
    """The reds that name something at which no later report looked."""
    found: set[Path] = set()
    looked_at: set[int | str] = set()
    ends = inf  # where the ledger ends, as a later red found
    for path, cover in latest_first.items():
        named: set[int | str] = {*cover.recheck.micro_batches, *cover.recheck.receipts}
        if cover.doubts:
            if any(item not in looked_at and not (isinstance(item, int) and item >= ends) for item in named):
                found.add(path)
            ends = min(ends, cover.ever.micro_batches)
        looked_at |= named | cover.items
    return found


def _written_at(folder: Folder) -> dict[Path, float]:
    """The documents, and when each was written, in seconds since 1970."""
    found: dict[Path, float] = {}
    if folder.reports.is_dir():
        with os.scandir(folder.reports) as entries:
            for entry in entries:
                with suppress(FileNotFoundError, NotADirectoryError):
                    path = Path(entry.path) / DOCUMENT
                    found[path] = path.stat().st_mtime
    return found


def _published_by(folder: Folder, run: str) -> set[int]:
    """The micro-batches that an ingest run published, and those whose entries verify knows but can't read.

    They may be this run's.
    """
    found = {micro_batch_of(path.parent): _decoded(path, Origin) for path in folder.events.glob(f"*/{ENTRY}")}
    verified = read_verified(folder)
    unknown = {
        number
        for number in range(max(verified.until, *verified.recheck, -1) + 1)
        if found.get(number) is None
    }
    return unknown | {
        number for number, origin in found.items() if number is not None and origin and origin.run == run
    }


def _documents(folder: Folder) -> Iterator[Path]:
    return folder.reports.glob(f"*/{DOCUMENT}")


def _newest(folder: Folder) -> Path | None:
    """The newest report; but a red that nothing has settled, if there is one."""
    known = _known(folder)
    verified = read_verified(folder)
    named: set[int | str] = {*verified.recheck, *verified.recheck_receipts}
    unsettled = [path for cover, path in known if cover.doubts and any(map(cover.names, named))]
    return next(iter(unsettled or [path for _, path in known]), None)


def _known(folder: Folder) -> list[tuple[Cover, Path]]:
    """All reports that can be read, the newest first.

    Raises `LedgerError` if another one may be newer than these, and red: then an older green would be shown
    in its place. It is damaged and was written last, or `verified.json` knows of what it found.
    """
    written_at = _written_at(folder)
    known = sorted(
        ((cover, path) for path in written_at if (cover := _decoded(path, Cover))),
        key=lambda each: each[0].number,
        reverse=True,
    )
    readable = {path for _, path in known}
    last = max((written_at[path] for path in readable), default=-inf)
    for path in sorted(written_at.keys() - readable):
        if written_at[path] >= last:
            raise LedgerError(
                f"{path} can't be read, and is the newest report. `headrace verify {folder.root.name}` writes another.",
                code=Code.DOCUMENT_DAMAGED,
            )
    verified, newest = read_verified(folder), known[0][0].number if known else 0
    named: list[tuple[int | str, int]] = [
        *((number, recheck.found_by) for number, recheck in verified.recheck.items()),
        *verified.recheck_receipts.items(),
    ]
    for item, by in named:
        if by > newest and not any(cover.doubts and cover.names(item) for cover, _ in known):
            raise LedgerError(
                f"The report of a red is not in {folder.reports}: {folder.verified.name} knows that it named "
                f"{f'micro-batch {item}' if isinstance(item, int) else f'the receipt of run {item}'}. "
                f"`headrace verify {folder.root.name}` writes another.",
                code=Code.DOCUMENT_DAMAGED,
            )
    return known


def _decoded(path: Path, kind: type[PartT]) -> PartT | None:
    """A part of a document; nothing if it is damaged, which verify reports better than this could."""
    try:
        return msgspec.json.decode(documents.content(path), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, LedgerError, OSError):
        return None
