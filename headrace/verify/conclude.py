"""The end of a verify run: the report for people, the mark of how far verify was green, and the outcome."""

from pathlib import Path

import msgspec

from headrace import documents
from headrace.contract.pipeline import Pipeline
from headrace.errors import BrokenInvariantError, LedgerError
from headrace.ledger.folder import Folder
from headrace.ledger.identity import read_identity
from headrace.ledger.progress import Owed, Verified, entries_sha256, entry_sha256, is_of_another_checkpoint, read_verified, receipt_sha256
from headrace.report import wording
from headrace.report.html import render
from headrace.report.model import ReceiptState, Report
from headrace.report.stored import PAGE
from headrace.verify import per_minute
from headrace.verify.scope import Scope


def conclude(folder: Folder, pipeline: Pipeline, scope: Scope, report: Report) -> None:
    """Move `verified.json` on green, raise `BrokenInvariantError` on red; write `report.html` beside `report.json` once the outcome stands.

    Raises `LedgerError` if the report is not one of this scope, or the folder was reset meanwhile: then nothing is said of what is there now.
    """
    page = folder.report(report.run) / PAGE
    green = wording.outcome(report).green
    if green:
        _require_whole(scope, report)
    with folder.locked(f"verify run {report.run}", lock=Folder.VERIFIED_LOCK, patience=Folder.BRIEFLY):
        identity, known = read_identity(folder), read_verified(folder)
        if identity and scope.checkpoint and identity.checkpoint != scope.checkpoint:
            raise LedgerError(f"{folder.root} was reset while run {report.run} looked at it. Run verify again.")
        if not green:
            # What was red is told again if a task is cleared; it was remembered the first time, and may have been mended since.
            if not page.exists() and not is_of_another_checkpoint(folder):
                documents.write(folder.verified, _after_red(known, report))
            documents.replace(page, render(report).encode())
            raise BrokenInvariantError(diagnosis(report, page))
        _require_unchanged(folder, known, scope, report)
        verified = _after_green(folder, known, scope, report)
        documents.write(folder.verified, verified)
    if newer := [f"micro-batch {each}" for each in scope.micro_batches if each in verified.owed_micro_batches]:
        newer_red = f"{newer[0]} was found wanting by a report that is newer than this one. Run {pipeline.name}_verify again."
        raise BrokenInvariantError(newer_red)
    documents.replace(page, render(report).encode())
    if pipeline.kept_per_minute:
        per_minute.write(folder, until=verified.micro_batch)


def _require_whole(scope: Scope, report: Report) -> None:
    """Raise `LedgerError` unless the report covers just its scope: tasks of a run can be cleared one by one."""
    covered = [receipt.run for receipt in report.receipts if receipt.state in {ReceiptState.VERIFIED, ReceiptState.AGED_OUT}]
    if sorted(covered) != scope.receipts or sorted(each.id for each in report.micro_batches) != scope.micro_batches:
        raise LedgerError(
            f"The report of run {report.run} is not about what this run is to check. Clear its task `collect` and those after it."
        )


def _require_unchanged(folder: Folder, known: Verified, scope: Scope, report: Report) -> None:
    """Raise `LedgerError` unless entries and receipts are what was checked, and those verified before what they were then."""
    changed = [
        f"the entry of micro-batch {each}" for each in scope.micro_batches if report.hashes.entries[each] != entry_sha256(folder, each)
    ]
    changed += [f"the receipt of run {run}" for run in scope.receipts if report.hashes.receipts[run] != receipt_sha256(folder, run)]
    if known.entries is not None and known.entries != entries_sha256(folder, known.micro_batch):
        changed.append(f"an entry of micro-batch 0 to {known.micro_batch}")
    if changed:
        raise LedgerError(
            f"What run {report.run} was green about has changed since it was checked: {', '.join(changed)}. Run verify again."
        )


def _after_red(known: Verified, report: Report) -> Verified:
    """What was found wanting is looked at again, also if it was verified before; only a later green of just that takes it off the list."""
    owed = dict(known.owed_micro_batches)
    for micro_batch in report.wanting.micro_batches:
        before = owed.get(micro_batch)
        restorable = micro_batch in report.wanting.restorable
        owed[micro_batch] = Owed(
            found_at=max(report.checked_at, before.found_at) if before else report.checked_at,
            restorable=restorable and (before is None or before.restorable),
        )
    found_at = {run: max(report.checked_at, known.owed_receipts.get(run, report.checked_at)) for run in report.wanting.receipts}
    return msgspec.structs.replace(known, owed_micro_batches=owed, owed_receipts={**known.owed_receipts, **found_at})


def _after_green(folder: Folder, known: Verified, scope: Scope, report: Report) -> Verified:
    micro_batches, runs = set(scope.micro_batches), set(scope.receipts)
    settled = msgspec.structs.replace(
        known,
        owed_micro_batches={
            each: owed for each, owed in known.owed_micro_batches.items() if each not in micro_batches or owed.found_at >= report.checked_at
        },
        owed_receipts={run: found_at for run, found_at in known.owed_receipts.items() if run not in runs or found_at >= report.checked_at},
    )
    if not scope.moves:
        return settled
    last = known.micro_batch
    while last + 1 in micro_batches:
        last += 1
    places = {(each.topic, each.partition): each for each in known.last_records}
    for each in report.last_records:
        if (place := (each.topic, each.partition)) not in places or places[place].offset < each.offset:
            places[place] = each
    return msgspec.structs.replace(
        settled,
        checkpoint=scope.checkpoint,
        micro_batch=last,
        entries=entries_sha256(folder, last),
        receipts={**known.receipts, **report.hashes.receipts},
        last_records=[places[place] for place in sorted(places)],
    )


def diagnosis(report: Report, page: Path) -> str:
    """What a red report comes down to: per broken invariant the first finding, where it is, and what to do."""
    lines = [wording.outcome(report).sentence]
    for invariant in wording.broken(report):
        first = invariant.findings[0]
        others = f" (and {invariant.found - 1:,} more)" if invariant.found > 1 else ""
        lines.append(f"{invariant.id}: {first.message}{wording.where(first)}{others}")
        lines.append(f"  Do: {wording.advice(invariant, report.pipeline).do}")
    return "\n".join([*lines, wording.afterwards(report.pipeline), f"The whole account: {page}"])
