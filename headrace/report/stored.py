"""Reports that verify runs wrote."""

from pathlib import Path

from headrace import documents
from headrace.errors import MistakeError
from headrace.ledger.folder import Folder
from headrace.report.model import Report


def find(folder: Folder, run: str | None) -> tuple[Path, Report]:
    """The newest report, that of a verify run, or the newest that covers an ingest run.

    Raises `MistakeError` if there is none.
    """
    newest_first = sorted(folder.reports.glob("*/report.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in newest_first:
        report = documents.read(path, Report)
        if run is None or run == report.run or any(receipt.run == run for receipt in report.receipts):
            return path, report
    raise MistakeError(
        f"There is no report{f' of run {run!r}' if run else ''} in {folder.reports}. `headrace verify {folder.root.name}` writes one."
    )
