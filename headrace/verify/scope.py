"""What a verify run looks at in full.

It comes from the ledger, never from asset events: those can be merged, late or missing.
"""

import msgspec

from headrace.errors import Code, UsageError
from headrace.ledger.checkpoint import logged
from headrace.ledger.entries import entries, entry_path, newest_number, published_numbers
from headrace.ledger.entry import Entry
from headrace.ledger.folder import Folder
from headrace.ledger.identity import read_identity
from headrace.ledger.progress import published_runs, read_verified
from headrace.ledger.receipts import Receipt, ReceiptState, receipt_of, receipts
from headrace.ledger.verified_receipts import expired, has_expired, is_settled, journaled


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Micro-batches to judge again and receipts to read back.

    `updates_verified` says whether what is proven is remembered.
    """

    checkpoint: str | None
    """Of the ledger that it was made for; null before the first micro-batch."""
    micro_batches: list[int]
    receipts: list[str]
    updates_verified: bool = msgspec.field(name="moves")
    whole: bool = False
    """Whether it is all that was ever published."""
    has_expired: bool = False
    """Whether receipts of its batches have expired, so that not all of I1 can be checked."""


def since_verified(folder: Folder) -> Scope:
    """What was published or receipted since verify looked last, and what a red named and no green settled."""
    verified = read_verified(folder)
    newest = newest_number(folder, near=max(verified.until, *logged(folder.checkpoint, "offsets"), -1))
    new = [number for number in range(verified.until + 1, newest + 1) if entry_path(folder, number).exists()]
    return Scope(
        checkpoint=_checkpoint(folder),
        micro_batches=sorted({*new, *verified.recheck}),
        receipts=sorted(
            run
            for run in published_runs(folder)
            if run in verified.recheck_receipts or not is_settled(folder, run)
        ),
        updates_verified=True,
    )


def with_new(scope: Scope, folder: Folder) -> Scope:
    """The scope with what came since it was made: a check may begin late, or be repeated."""
    new = since_verified(folder)
    return msgspec.structs.replace(
        scope,
        checkpoint=scope.checkpoint or new.checkpoint,
        micro_batches=sorted({*scope.micro_batches, *new.micro_batches}),
        receipts=sorted({*scope.receipts, *new.receipts}),
    )


def everything(folder: Folder) -> Scope:
    """All that was ever published or receipted."""
    known = {
        *published_runs(folder),
        *journaled(folder),
        *(receipt.run for receipt in receipts(folder, verified=True)),
    }
    gone = expired(folder)
    return Scope(
        checkpoint=_checkpoint(folder),
        micro_batches=sorted({*published_numbers(folder), *read_verified(folder).recheck}),
        receipts=sorted(known - gone),
        updates_verified=True,
        whole=True,
        has_expired=bool(gone),
    )


def of_run(folder: Folder, run: str) -> Scope:
    """What one ingest run published, the micro-batches that hold its batch, and those in between.

    A balance has no holes.

    Raises `UsageError` if there is no such run, or its batch is not published yet.
    """
    receipt = receipt_of(folder, run)
    ledger = entries(folder)
    chosen = [entry.number for entry in ledger if entry.run == run or (receipt and _holds(entry, receipt))]
    if receipt is None and not chosen:
        runs = sorted({entry.run for entry in ledger} | {each.run for each in receipts(folder)})
        raise UsageError(
            f"There is no run {run!r} in {folder.root}. Known runs: {', '.join(runs[-10:]) or 'none'}."
        )
    if (
        receipt
        and not folder.is_verified(run)
        and (receipt.state == ReceiptState.OPEN or run not in published_runs(folder))
    ):
        what = (
            "is not complete yet"
            if receipt.state == ReceiptState.OPEN
            else "waits for a stream to publish it"
        )
        raise UsageError(
            f"The batch of run {run!r} {what}, so there is nothing to check of it.",
            code=Code.BATCH_UNPUBLISHED,
        )
    if run in (verified := read_verified(folder)).recheck_receipts:
        chosen += verified.recheck  # a record of the batch may be in one of these a second time
    whole = list(range(min(chosen), max(chosen) + 1)) if chosen else []
    return Scope(
        checkpoint=_checkpoint(folder),
        micro_batches=whole,
        receipts=[run] if receipt else [],
        updates_verified=False,
        has_expired=has_expired(folder, run),
    )


def _checkpoint(folder: Folder) -> str | None:
    identity = read_identity(folder)
    return identity.checkpoint if identity else None


def _holds(entry: Entry, receipt: Receipt) -> bool:
    return any(
        account.topic == landing.topic
        and account.partition == landing.partition
        and account.from_offset <= landing.highest_offset
        and landing.lowest_offset < account.until_offset
        for account in entry.accounts
        for landing in receipt.landings
    )
