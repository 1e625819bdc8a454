"""What a verify run looks at in full. It comes from the ledger, never from asset events: those can be merged, late or missing."""

from datetime import datetime

import msgspec

from headrace import documents
from headrace.errors import MistakeError
from headrace.ledger.entries import Entry, entries
from headrace.ledger.folder import Folder
from headrace.ledger.identity import Streamed, read_verified
from headrace.ledger.opening import is_due
from headrace.ledger.receipts import Receipt, receipts


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Micro-batches to judge again and receipts to read back; `moves` says whether green moves `verified.json`."""

    micro_batches: list[int]
    receipts: list[str]
    streamed_from: datetime | None
    """When the last stream that ran to its end began: receipts completed before are due, later ones are pending."""
    moves: bool


def since_verified(folder: Folder) -> Scope:
    """What was published or receipted since verify was last green, and all that was found wanting and not green again since."""
    verified = read_verified(folder)
    first = min({verified.micro_batch + 1, *verified.owed_micro_batches})
    streamed = _streamed_from(folder)
    return Scope(
        micro_batches=[micro_batch for micro_batch in folder.micro_batches() if micro_batch >= first],
        receipts=sorted(({r.run for r in receipts(folder) if is_due(r, streamed)} - set(verified.receipts)) | set(verified.owed_receipts)),
        streamed_from=streamed,
        moves=True,
    )


def everything(folder: Folder) -> Scope:
    """All that was ever published or receipted."""
    streamed = _streamed_from(folder)
    return Scope(
        micro_batches=folder.micro_batches(),
        receipts=sorted(receipt.run for receipt in receipts(folder) if is_due(receipt, streamed)),
        streamed_from=streamed,
        moves=True,
    )


def of_run(folder: Folder, run: str) -> Scope:
    """What one ingest run published, the micro-batches that hold its batch, and those in between: a balance has no holes."""
    known: dict[str, Receipt] = {receipt.run: receipt for receipt in receipts(folder)}
    ledger = entries(folder)
    chosen = [entry.micro_batch for entry in ledger if entry.run == run or (run in known and _holds(entry, known[run]))]
    if run not in known and not chosen:
        runs = sorted({entry.run for entry in ledger} | set(known))
        raise MistakeError(f"There is no run {run!r} in {folder.root}. Known runs: {', '.join(runs[-10:]) or 'none'}.")
    whole = list(range(min(chosen), max(chosen) + 1)) if chosen else []
    return Scope(micro_batches=whole, receipts=[run] if run in known else [], streamed_from=_streamed_from(folder), moves=False)


def _holds(entry: Entry, receipt: Receipt) -> bool:
    return any(
        account.topic == landing.topic
        and account.partition == landing.partition
        and account.from_offset <= landing.highest_offset
        and landing.lowest_offset < account.until_offset
        for account in entry.accounts
        for landing in receipt.landings
    )


def _streamed_from(folder: Folder) -> datetime | None:
    return documents.read(folder.streamed, Streamed).started_at if folder.streamed.exists() else None
