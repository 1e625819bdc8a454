"""The end of a verify run: the report for people, the mark of how far verify was green, and the outcome."""

from pathlib import Path

import msgspec

from headrace import documents
from headrace.contract.pipeline import Pipeline
from headrace.errors import BrokenInvariantError
from headrace.ledger.folder import Folder
from headrace.ledger.identity import Verified, read_verified
from headrace.report import wording
from headrace.report.html import render
from headrace.report.model import Report
from headrace.verify import per_minute
from headrace.verify.scope import Scope


def conclude(folder: Folder, pipeline: Pipeline, scope: Scope, report: Report) -> None:
    """Write `report.html` beside `report.json`; move `verified.json` on green, raise `BrokenInvariantError` on red."""
    page = folder.report(report.run) / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(report), encoding="utf-8")
    known = read_verified(folder)
    if not wording.outcome(report).green:
        documents.write(folder.verified, _after_red(known, report))
        raise BrokenInvariantError(diagnosis(report, page))
    verified = _after_green(known, scope)
    documents.write(folder.verified, verified)
    if pipeline.kept_per_minute:
        per_minute.write(folder, until=verified.micro_batch)


def _after_red(known: Verified, report: Report) -> Verified:
    """What was found wanting is looked at again, also if it was verified before; only green of just that takes it off the list."""
    found = report.wanting
    return msgspec.structs.replace(
        known,
        owed_micro_batches=sorted({*known.owed_micro_batches, *(each for each in found.micro_batches if each <= known.micro_batch)}),
        owed_receipts=sorted({*known.owed_receipts, *found.receipts}),
    )


def _after_green(known: Verified, scope: Scope) -> Verified:
    settled = msgspec.structs.replace(
        known,
        owed_micro_batches=sorted(set(known.owed_micro_batches) - set(scope.micro_batches)),
        owed_receipts=sorted(set(known.owed_receipts) - set(scope.receipts)),
    )
    if not scope.moves:
        return settled
    last = max([*scope.micro_batches, known.micro_batch])
    return msgspec.structs.replace(settled, micro_batch=last, receipts=sorted({*known.receipts, *scope.receipts}))


def diagnosis(report: Report, page: Path) -> str:
    """What a red report comes down to: per broken invariant the first finding, where it is, and what to do."""
    lines = [wording.outcome(report).sentence]
    for invariant in wording.broken(report):
        first = invariant.findings[0]
        others = f" (and {invariant.found - 1:,} more)" if invariant.found > 1 else ""
        lines.append(f"{invariant.id}: {first.message}{wording.where(first)}{others}")
        lines.append(f"  Do: {wording.advice(invariant, report.pipeline).do}")
    return "\n".join([*lines, wording.afterwards(report.pipeline), f"The whole account: {page}"])
