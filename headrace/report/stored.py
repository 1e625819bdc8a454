"""Reports that verify runs wrote, and which of them account for an ingest run."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from headrace import documents
from headrace.errors import MistakeError
from headrace.ledger.folder import ENTRY, Folder, micro_batch_of
from headrace.report.model import ABOUT_WHAT_COMES, InvariantState, Report

PAGE = "report.html"
DOCUMENT = "report.json"
BY_HAND = "by_hand__"
"""How the names of the reports start that `headrace verify` writes."""

PartT = TypeVar("PartT")


class Account(msgspec.Struct):
    """What of a receipt's account in a `report.json` is needed here."""

    run: str


class Published(msgspec.Struct):
    """What of a micro-batch in a `report.json` is needed here."""

    id: int


class Outcome(msgspec.Struct):
    """What of an invariant's outcome is needed here."""

    id: str
    state: InvariantState


class Named(msgspec.Struct):
    """What a report asks later runs to check again."""

    micro_batches: list[int]
    receipts: list[str]
    everything: bool


class Cover(msgspec.Struct):
    """What of a `report.json` says which runs it covers, and how; the rest is not decoded."""

    number: int
    run: str
    receipts: list[Account]
    micro_batches: list[Published]
    invariants: list[Outcome]
    recheck: Named

    def covers(self, item: int | str) -> bool:
        """Whether it looked at a micro-batch (by number) or a receipt (by run), or names it."""
        if self.recheck.everything:
            return True
        if isinstance(item, int):
            return item in self.recheck.micro_batches or any(each.id == item for each in self.micro_batches)
        return item in self.recheck.receipts or any(each.run == item for each in self.receipts)

    @property
    def doubts(self) -> bool:
        """Whether it is red about what is published."""
        red = {InvariantState.BROKEN, InvariantState.UNVERIFIABLE}
        return any(each.state in red and each.id not in ABOUT_WHAT_COMES for each in self.invariants)


class Origin(msgspec.Struct):
    """What of an entry says who published it."""

    run: str


def store(folder: Folder, report: Report) -> None:
    """Write a report's document. A page beside it is that of an earlier report of the same name; the new one follows when its outcome is certain."""
    (folder.report(report.run) / PAGE).unlink(missing_ok=True)
    documents.write(folder.report(report.run) / DOCUMENT, report)


def highest_number(folder: Folder) -> int:
    """The highest number of all reports; 0 before the first."""
    try:
        return int(folder.report_number.read_text())
    except (FileNotFoundError, ValueError):
        return max((cover.number for path in _documents(folder) if (cover := _decoded(path, Cover))), default=0)


def find(folder: Folder, run: str | None) -> tuple[Path, Report]:
    """The newest report, that of a verify run, or the one that accounts for an ingest run; but a newer red about the same wins.

    Raises `MistakeError` if there is none.
    """
    found = of_run(folder, run) if run else max(_documents(folder), key=_number, default=None)
    if found is None:
        raise MistakeError(
            f"There is no report{f' of run {run!r}' if run else ''} in {folder.reports}. `headrace verify {folder.root.name}` writes one."
        )
    return found, documents.read(found, Report)


def of_run(folder: Folder, run: str) -> Path | None:
    """The document of a verify run, or the newest that accounts for an ingest run, those of verify's DAG first.

    But of the newest reports about each of its micro-batches and receipts, one that is red wins: a green about the others settles nothing.
    """
    own = folder.report(run) / DOCUMENT
    mine = _decoded(own, Cover) if own.exists() else None
    items: set[int | str] = {*(each.id for each in mine.micro_batches), *(each.run for each in mine.receipts)} if mine else {run}
    items |= set() if mine else _published_by(folder, run)
    covers = sorted(
        (
            (cover, path)
            for path in _documents(folder)
            if (cover := _decoded(path, Cover)) and (cover.recheck.everything or any(map(cover.covers, items)))
        ),
        key=lambda each: each[0].number,
        reverse=True,
    )
    newest = {item: next((each for each in covers if each[0].covers(item)), None) for item in items}
    red = [each for each in newest.values() if each and each[0].doubts]
    if red:
        return max(red, key=lambda each: each[0].number)[1]
    if mine:
        return own
    return next((path for cover, path in covers if not cover.run.startswith(BY_HAND)), covers[0][1] if covers else None)


def discard(folder: Folder, run: str) -> None:
    """Remove a report, its page first: a page without its document would be of no known report."""
    for name in (PAGE, DOCUMENT):
        (folder.report(run) / name).unlink(missing_ok=True)


def _published_by(folder: Folder, run: str) -> set[int]:
    """The micro-batches that an ingest run published."""
    found = (
        micro_batch_of(path.parent) for path in folder.events.glob(f"*/{ENTRY}") if (origin := _decoded(path, Origin)) and origin.run == run
    )
    return {number for number in found if number is not None}


def _documents(folder: Folder) -> Iterator[Path]:
    return folder.reports.glob(f"*/{DOCUMENT}")


def _number(path: Path) -> int:
    cover = _decoded(path, Cover)
    return cover.number if cover else -1


def _decoded(path: Path, kind: type[PartT]) -> PartT | None:
    """A part of a document; nothing if it is damaged, which verify reports better than this could."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.DecodeError, FileNotFoundError):
        return None
