"""What a verify run looks at in full. It comes from the ledger, never from asset events: those can be merged, late or missing."""

import msgspec

from headrace.errors import MistakeError
from headrace.ledger.entries import Entry, entries
from headrace.ledger.folder import Folder
from headrace.ledger.identity import read_identity
from headrace.ledger.progress import published_runs, read_verified
from headrace.ledger.receipts import Receipt, ReceiptState, receipts


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Micro-batches to judge again and receipts to read back; `moves` says whether green moves `verified.json`."""

    checkpoint: str | None
    """Of the ledger that it was made for; null before the first micro-batch."""
    micro_batches: list[int]
    receipts: list[str]
    moves: bool


def since_verified(folder: Folder) -> Scope:
    """What was published or receipted since verify was last green, and all that was found wanting and not green again since."""
    verified = read_verified(folder)
    first = min({verified.micro_batch + 1, *verified.owed_micro_batches})
    return Scope(
        checkpoint=_checkpoint(folder),
        micro_batches=[micro_batch for micro_batch in folder.micro_batches() if micro_batch >= first],
        receipts=sorted(published_runs(folder) - (verified.receipts.keys() - verified.owed_receipts.keys())),
        moves=True,
    )


def everything(folder: Folder) -> Scope:
    """All that was ever published or receipted."""
    return Scope(
        checkpoint=_checkpoint(folder),
        micro_batches=folder.micro_batches(),
        receipts=sorted(published_runs(folder)),
        moves=True,
    )


def of_run(folder: Folder, run: str) -> Scope:
    """What one ingest run published, the micro-batches that hold its batch, and those in between: a balance has no holes.

    Raises `MistakeError` if there is no such run, or its batch is not published yet.
    """
    known: dict[str, Receipt] = {receipt.run: receipt for receipt in receipts(folder)}
    ledger = entries(folder)
    chosen = [entry.micro_batch for entry in ledger if entry.run == run or (run in known and _holds(entry, known[run]))]
    if run not in known and not chosen:
        runs = sorted({entry.run for entry in ledger} | set(known))
        raise MistakeError(f"There is no run {run!r} in {folder.root}. Known runs: {', '.join(runs[-10:]) or 'none'}.")
    if run in known and (known[run].state == ReceiptState.OPEN or run not in published_runs(folder)):
        what = "is not complete yet" if known[run].state == ReceiptState.OPEN else "waits for a stream to publish it"
        raise MistakeError(f"The batch of run {run!r} {what}, so there is nothing to check of it.")
    whole = list(range(min(chosen), max(chosen) + 1)) if chosen else []
    return Scope(checkpoint=_checkpoint(folder), micro_batches=whole, receipts=[run] if run in known else [], moves=False)


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
