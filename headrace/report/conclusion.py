"""The end of a verify run: what it proved is remembered, and its page is written.

The task `report` and `headrace verify` do the same.
"""

from pathlib import Path

from headrace import documents
from headrace.contract.pipeline import Pipeline
from headrace.errors import BrokenInvariantError
from headrace.ledger.folder import Folder
from headrace.report import wording
from headrace.report.html import render
from headrace.verify import settle
from headrace.verify.quarantined import samples
from headrace.verify.result import Report
from headrace.verify.scope import Scope
from headrace.verify.stored import PAGE


def conclude(folder: Folder, pipeline: Pipeline, scope: Scope, report: Report) -> int | None:
    """Remember what a run proved, and write its page.

    Returns and raises as `settle.conclude`, and raises `BrokenInvariantError` on red.
    """
    page = folder.report(report.run) / PAGE

    def write_page() -> None:
        documents.replace(page, render(report, samples(folder, report)).encode())

    number = settle.conclude(folder, pipeline, scope, report, write_page)
    if not report.is_green:
        raise BrokenInvariantError(diagnosis(report, page))
    return number


def diagnosis(report: Report, page: Path) -> str:
    """What a red report comes down to.

    Per broken invariant the first finding, where it is, and what to do.
    """
    lines = [wording.outcome(report).sentence]
    for invariant in report.broken:
        first = invariant.findings[0]
        others = f" (and {invariant.found - 1:,} more)" if invariant.found > 1 else ""
        lines.append(f"{invariant.id}: {first.message}{wording.where(first)}{others}")
        lines.append(f"  Do: {wording.advice(invariant, report.pipeline).do}")
    return "\n".join([*lines, wording.afterwards(report.pipeline), f"The whole account: {page}"])
