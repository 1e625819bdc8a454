"""Reports that verify runs wrote, and which of them account for an ingest run."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from headrace import documents
from headrace.errors import MistakeError
from headrace.ledger.folder import ENTRY, Folder, micro_batch_of
from headrace.report.model import Report

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


class Cover(msgspec.Struct):
    """What of a `report.json` tells which runs it covers; the rest is not decoded."""

    receipts: list[Account]
    micro_batches: list[Published]


class Origin(msgspec.Struct):
    """What of an entry tells who published it."""

    run: str


def store(folder: Folder, report: Report) -> None:
    """Write a report's document. A page beside it is that of an earlier report of the same name; the new one follows when its outcome stands."""
    (folder.report(report.run) / PAGE).unlink(missing_ok=True)
    documents.write(folder.report(report.run) / DOCUMENT, report)


def find(folder: Folder, run: str | None) -> tuple[Path, Report]:
    """The newest report, that of a verify run, or the one that accounts for an ingest run.

    Raises `MistakeError` if there is none.
    """
    if run is None:
        found = next(iter(sorted(folder.reports.glob(f"*/{DOCUMENT}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)), None)
    elif (own := folder.report(run) / DOCUMENT).exists():
        found = own
    else:
        found = next(covering(folder, run), None)
    if found is None:
        raise MistakeError(
            f"There is no report{f' of run {run!r}' if run else ''} in {folder.reports}. `headrace verify {folder.root.name}` writes one."
        )
    return found, documents.read(found, Report)


def covering(folder: Folder, run: str) -> Iterator[Path]:
    """Documents of the reports that account for an ingest run's receipt or micro-batches: those of verify's DAG first, newest first."""
    published = {
        micro_batch_of(path.parent) for path in folder.events.glob(f"*/{ENTRY}") if (origin := _decoded(path, Origin)) and origin.run == run
    }
    for path in sorted(folder.reports.glob(f"*/{DOCUMENT}"), key=_rank, reverse=True):
        cover = _decoded(path, Cover)
        if cover and (run in {receipt.run for receipt in cover.receipts} or published & {batch.id for batch in cover.micro_batches}):
            yield path


def _rank(path: Path) -> tuple[bool, int]:
    """A check of everything by hand covers the run as well, but much else besides."""
    return not path.parent.name.startswith(BY_HAND), path.stat().st_mtime_ns


def _decoded(path: Path, kind: type[PartT]) -> PartT | None:
    """A part of a document; nothing if it is damaged, which verify reports better than this could."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError:
        return None
