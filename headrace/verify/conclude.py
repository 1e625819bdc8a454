"""The end of a verify run: the report for people, the mark of how far verify was green, and the outcome."""

from headrace import documents
from headrace.errors import BrokenInvariantError
from headrace.ledger.folder import Folder
from headrace.ledger.identity import Verified
from headrace.report.html import render
from headrace.report.model import InvariantState, Report, State
from headrace.verify.scope import Scope


def conclude(folder: Folder, scope: Scope, report: Report) -> None:
    """Write `report.html` beside `report.json`; move `verified.json` on green, raise `BrokenInvariantError` on red."""
    page = folder.report(report.run) / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(report), encoding="utf-8")
    if report.state == State.RED:
        broken = [
            f"{each.id} ({each.title}): {each.findings[0].message}" for each in report.invariants if each.state != InvariantState.HELD
        ]
        raise BrokenInvariantError("Not every record is accounted for.\n  " + "\n  ".join(broken) + f"\nThe whole account: {page}")
    if scope.moves:
        known = documents.read(folder.verified, Verified) if folder.verified.exists() else None
        last = max([*scope.micro_batches, known.micro_batch if known else -1])
        documents.write(folder.verified, Verified(micro_batch=last, receipts_until=scope.streamed_from))
