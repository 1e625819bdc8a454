"""The end of a verify run: the report for people, the mark of how far verify was green, and the outcome."""

from pathlib import Path

from headrace import documents
from headrace.errors import BrokenInvariantError
from headrace.ledger.folder import Folder
from headrace.ledger.identity import Verified
from headrace.report import wording
from headrace.report.html import render
from headrace.report.model import Report
from headrace.verify.scope import Scope


def conclude(folder: Folder, scope: Scope, report: Report) -> None:
    """Write `report.html` beside `report.json`; move `verified.json` on green, raise `BrokenInvariantError` on red."""
    page = folder.report(report.run) / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(report), encoding="utf-8")
    if not wording.outcome(report).green:
        raise BrokenInvariantError(diagnosis(report, page))
    if scope.moves:
        known = documents.read(folder.verified, Verified) if folder.verified.exists() else None
        last = max([*scope.micro_batches, known.micro_batch if known else -1])
        documents.write(folder.verified, Verified(micro_batch=last, receipts_until=scope.streamed_from))


def diagnosis(report: Report, page: Path) -> str:
    """What a red report comes down to: per broken invariant the first finding, where it is, and what to do."""
    lines = [wording.outcome(report).sentence]
    for invariant in wording.broken(report):
        first = invariant.findings[0]
        others = f" (and {invariant.found - 1:,} more)" if invariant.found > 1 else ""
        lines.append(f"{invariant.id}: {first.message}{wording.where(first)}{others}")
        lines.append(f"  Do: {wording.advice(invariant, report.pipeline).do}")
    return "\n".join([*lines, wording.afterwards(report.pipeline), f"The whole account: {page}"])
