"""The beginning and the end of a verify run.

The number it draws, what is remembered of what it found, and what is no longer kept.
"""

from collections.abc import Callable

import msgspec

from headrace import documents
from headrace.contract.pipeline import Pipeline
from headrace.errors import BrokenInvariantError, Code, LedgerError
from headrace.kafka.offsets import Offsets
from headrace.ledger import verified_receipts
from headrace.ledger.folder import Folder
from headrace.ledger.identity import Identity, read_identity
from headrace.ledger.progress import (
    LastRecord,
    Mark,
    Recheck,
    Verified,
    advanced,
    entry_sha256,
    is_of_another_checkpoint,
    read_verified,
    stored_verified,
)
from headrace.ledger.receipts import receipt_sha256
from headrace.verify import history, per_minute
from headrace.verify.result import HELD, Report
from headrace.verify.retention import tidy
from headrace.verify.scope import Scope
from headrace.verify.stored import PAGE, found_good, highest_number


def draw_number(folder: Folder, purpose: str) -> int:
    """Draw the number of a verify run that begins.

    Higher than all before, and remembered, so that no two runs share one.

    It orders reports where clocks can't: of two reports the one with the higher number looked later.
    """
    with folder.locked(purpose, lock=Folder.VERIFIED_LOCK, timeout=Folder.BRIEFLY):
        known = stored_verified(folder)
        number = 1 + max(known.number, highest_number(folder))
        documents.write(folder.verified, msgspec.structs.replace(known, number=number))
        try:
            documents.replace(folder.report_number, str(number).encode())
        except IsADirectoryError as error:
            raise LedgerError(
                f"{folder.report_number} is a folder. Move it away.", code=Code.UNWRITTEN
            ) from error
    return number


def conclude(
    folder: Folder, pipeline: Pipeline, scope: Scope, report: Report, write_page: Callable[[], None]
) -> int | None:
    """Remember what was proven. Then remove what is no longer kept.

    Args:
        folder: The pipeline's folder.
        pipeline: Its file.
        scope: What the run was to check.
        report: What it found.
        write_page: Writes `report.html`; called once the outcome is certain.

    Returns:
        Number of the last report that proved something, if that is not announced yet.

    Raises:
        BrokenInvariantError: A green report is not the last word: a newer one has found a problem.
        LedgerError: The report is not one of this scope, or the folder was reset meanwhile. Then nothing is
            said of what is there now.
    """
    try:
        return _conclude(folder, pipeline, scope, report, write_page)
    finally:
        tidy(folder, pipeline.retention)


def _conclude(
    folder: Folder, pipeline: Pipeline, scope: Scope, report: Report, write_page: Callable[[], None]
) -> int | None:
    if report.is_green:
        _require_whole(folder, scope, report)
    with folder.locked(f"verify run {report.run}", lock=Folder.VERIFIED_LOCK, timeout=Folder.BRIEFLY):
        identity, known = read_identity(folder), read_verified(folder)
        is_another = identity.checkpoint != scope.checkpoint if identity else not folder.events.exists()
        if scope.checkpoint and is_another:
            raise LedgerError(
                f"{folder.root} was reset while run {report.run} looked at it. Run verify again.",
                code=Code.RESET_MEANWHILE,
            )
        if not report.is_green:
            # A cleared task repeats what was red; it was remembered the first time, and may have been mended
            # since.
            if not (folder.report(report.run) / PAGE).exists() and not is_of_another_checkpoint(folder):
                _settle(folder, known, identity, scope, report, _changed(folder, known, scope, report))
            write_page()
            return None
        if changed := _changed(folder, known, scope, report):
            names = [_name(each) for each in sorted(changed, key=str)]
            raise LedgerError(
                f"What run {report.run} was green about has changed since it was checked: {', '.join(names)}. Run verify again.",
                code=Code.CHANGED_SINCE,
            )
        verified = _settle(folder, known, identity, scope, report, set())
    newer = [f"micro-batch {each}" for each in sorted(report.hashes.entries) if each in verified.recheck]
    newer += [
        f"the batch of run {run}"
        for run in sorted(report.hashes.receipts)
        if run in verified.recheck_receipts
    ]
    if newer:
        raise BrokenInvariantError(
            f"A newer report found a problem in {newer[0]}. Run {pipeline.name}_verify again.",
            code=Code.NEWER_RED,
        )
    write_page()
    if pipeline.kept_per_minute:
        per_minute.extend(folder, verified)
    return verified.proved_by if verified.proved_by > verified.announced else None


def announced(folder: Folder, number: int) -> None:
    """Remember that what was proven up to a report, by its number, was announced to users of the data."""
    with folder.locked("an announcement", lock=Folder.VERIFIED_LOCK, timeout=Folder.BRIEFLY):
        known = stored_verified(folder)
        documents.write(
            folder.verified, msgspec.structs.replace(known, announced=max(number, known.announced))
        )


def _require_whole(folder: Folder, scope: Scope, report: Report) -> None:
    """Raise `LedgerError` unless the report covers its scope: tasks of a run can be cleared one by one.

    What came since may be in it, too.
    """
    covered = {receipt.run for receipt in report.receipts if receipt.state in HELD}
    wanted = {run for run in scope.receipts if not verified_receipts.has_expired(folder, run)}
    if not (
        covered.issuperset(wanted)
        and {each.id for each in report.micro_batches}.issuperset(scope.micro_batches)
    ):
        raise LedgerError(
            f"The report of run {report.run} is not about what this run is to check. Clear its task `collect` and those after it.",
            code=Code.OTHER_SCOPE,
        )


def _changed(folder: Folder, known: Verified, scope: Scope, report: Report) -> set[int | str]:
    """Entries (by number) and receipts (by run) that are not what was checked, or what was proven before."""
    changed: set[int | str] = {
        number for number, sha256 in report.hashes.entries.items() if sha256 != entry_sha256(folder, number)
    }
    changed |= {
        run
        for run in {*scope.receipts, *report.hashes.receipts}
        if report.hashes.receipts.get(run) != receipt_sha256(folder, run)
        and not verified_receipts.has_expired(folder, run)
    }
    if known.mark and known.mark.sha256 != entry_sha256(folder, known.mark.number):
        changed.add(known.mark.number)
    return changed


def _name(changed: int | str) -> str:
    return (
        f"the entry of micro-batch {changed}" if isinstance(changed, int) else f"the receipt of run {changed}"
    )


def _settle(
    folder: Folder,
    known: Verified,
    identity: Identity | None,
    scope: Scope,
    report: Report,
    changed: set[int | str],
) -> Verified:
    """Remember what a run proved.

    Each micro-batch and receipt whose own checks held is proven, whatever else was red. A newer report's
    finding stays: an older one says nothing of it. `verified.json` comes last: of what it lets pass, the
    receipts are in the journal (`verified_receipts.add`).
    """
    if is_of_another_checkpoint(folder):
        verified_receipts.take_back(folder, Offsets())
    found = set(report.recheck.micro_batches)
    doubted = report.recheck.everything or (known.mark is not None and known.mark.number in changed)
    good = set() if doubted else {number for number in report.hashes.entries if number not in found | changed}
    recheck = {
        number: before
        for number, before in known.recheck.items()
        if number not in good or before.found_by >= report.number
    }
    for number in found - (found_good(folder, report.seen) if found else set()):
        before = recheck.get(number)
        recheck[number] = Recheck(
            found_by=max(report.seen, before.found_by) if before else report.seen,
            restorable=number in report.recheck.restorable and (before is None or before.restorable),
            proven=before.proven if before else number <= known.until,
        )
    runs = set() if doubted else set(report.hashes.receipts) - set(report.recheck.receipts) - changed
    recheck_receipts = {
        run: by for run, by in known.recheck_receipts.items() if run not in runs or by >= report.number
    }
    recheck_receipts |= {
        run: max(report.seen, recheck_receipts.get(run, 0)) for run in report.recheck.receipts
    }
    has_proved = any(number not in recheck for number in known.recheck)
    settled = msgspec.structs.replace(
        known,
        recheck=recheck,
        recheck_receipts=recheck_receipts,
        gaps_not_checked=known.gaps_not_checked if doubted else _gaps(known, report),
    )
    if scope.updates_verified and not doubted:
        proven = {
            run: report.hashes.receipts[run]
            for run in sorted(runs - recheck_receipts.keys())
            # Otherwise another run verified it meanwhile, and it was old.
            if not verified_receipts.has_expired(folder, run)
        }
        has_proved |= verified_receipts.add(folder, proven)
        mark = _mark(known, good, recheck, report)
        has_moved = mark is not None and mark.number > known.until
        settled = msgspec.structs.replace(
            settled,
            checkpoint=identity.checkpoint if identity else scope.checkpoint,
            mark=mark,
            earlier=advanced([*known.earlier, *filter(None, [known.mark])], mark)
            if mark and has_moved
            else known.earlier,
            last_records=_last_records(known, report),
            history=history.advanced(known, scope, report.checked_at, report.history.began),
        )
        has_proved |= has_moved
    settled = msgspec.structs.replace(
        settled,
        accepted=sorted(
            {
                *known.accepted,
                *(
                    each.entry
                    for each in report.accepted
                    if each.entry in good and each.entry <= settled.until
                ),
            }
        ),
        settled={**known.settled, **{number: by for number, by in report.settled.items() if number in good}},
        proved_by=report.number if has_proved else known.proved_by,
    )
    documents.write(folder.verified, settled)
    return settled


def _mark(known: Verified, good: set[int], recheck: dict[int, Recheck], report: Report) -> Mark | None:
    """The last good micro-batch up to which each was looked at.

    Those that were not good are to be checked again.
    """
    reach = last = known.until
    while reach + 1 in good or reach + 1 in recheck:
        reach += 1
        last = reach if reach in good else last
    return (
        Mark(number=last, sha256=report.hashes.entries[last], proven_by=report.number)
        if last > known.until
        else known.mark
    )


def _gaps(known: Verified, report: Report) -> dict[int, int]:
    """The gaps that were not checked, by micro-batch: as this run found where it looked, else as before."""
    looked_at = report.hashes.entries.keys() - set(report.aged_out)
    return {
        number: gaps for number, gaps in known.gaps_not_checked.items() if number not in looked_at
    } | report.gaps_not_checked_of


def _last_records(known: Verified, report: Report) -> list[LastRecord]:
    places = {each.place: each for each in known.last_records}
    for each in report.last_records:
        if each.place not in places or places[each.place].offset < each.offset:
            places[each.place] = each
    return [places[place] for place in sorted(places)]
