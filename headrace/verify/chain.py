"""I5: the entries are one chain, from where identity.json starts to where the checkpoint ends. And each account balances, as I6 asks."""

from collections.abc import Collection, Mapping, Sequence

from headrace.errors import LedgerError
from headrace.ledger import checkpoint as checkpoints
from headrace.ledger.entries import CHECKED_KINDS, Entry, Link, joined, read_link
from headrace.ledger.folder import ENTRY, Folder
from headrace.ledger.guard import following
from headrace.ledger.identity import Identity
from headrace.verify.findings import Findings, Invariant


def readable_links(folder: Folder, newest: int, wanted: Collection[int], findings: Findings) -> dict[int, Link]:
    """The wanted entries and their neighbours up to the newest, as far as they are there and can be read; what can't is a finding."""
    links = {}
    for number in sorted({each + step for each in wanted for step in (-1, 0, 1)}):
        if not 0 <= number <= newest or not folder.published(folder.events, number).exists():
            continue  # the listing shows what is missing
        try:
            links[number] = read_link(folder, number)
        except LedgerError as error:
            place = folder.published(folder.events, number) / ENTRY
            findings.add(Invariant.FILES_EQUAL, str(error), micro_batch=number, file=str(place.relative_to(folder.root)))
    return links


def check_chain(
    folder: Folder,
    identity: Identity | None,
    links: Mapping[int, Link],
    looked_at: Collection[int],
    committed: Sequence[int],
    newest: int,
    findings: Findings,
) -> None:
    """Check that entries join, begin where identity.json does, and end where the checkpoint does.

    Args:
        folder: the pipeline's
        identity: what identity.json says; `None` if it is missing
        links: the entries that were read
        looked_at: those of them that this run looks at, by number
        committed: the micro-batches that the checkpoint says are done
        newest: number of the newest entry, -1 without entries
        findings: takes what does not hold
    """
    if identity is None:
        if newest >= 0 or committed or folder.started.exists() or folder.streamed.exists():
            message = "identity.json is missing, so it is not known where the ledger starts"
            findings.add(Invariant.RANGES_JOIN, message, file="identity.json", doubts_everything=True)
        return
    findings.checked[Invariant.RANGES_JOIN] += len(looked_at)
    for number in sorted(looked_at):
        if number in links:
            _check_entry(links[number].entry, identity, findings)
            _check_neighbours(links, number, findings)
    _check_start(folder, identity, findings)
    _check_end(folder, identity, links.get(newest), committed, newest, findings)


def _check_entry(entry: Entry, identity: Identity, findings: Findings) -> None:
    if entry.kind not in CHECKED_KINDS:
        message = f"this version of Headrace can't check entries of kind {entry.kind}: use the version that wrote it"
        findings.add(Invariant.RANGES_JOIN, message, micro_batch=entry.number)
    if (entry.checkpoint, entry.contract.format, entry.contract.fields) != (
        identity.checkpoint,
        identity.contract.format,
        identity.contract.fields,
    ):
        message = "the entry belongs to another checkpoint than identity.json names, or has other fields"
        findings.add(Invariant.RANGES_JOIN, message, micro_batch=entry.number)
    if moved := [
        f"{place} starts at {offset}, by identity.json at {identity.start.get(place, 'no offset')}"
        for place, offset in entry.starts.items()
        if identity.start.get(place) != offset
    ]:
        findings.add(Invariant.RANGES_JOIN, moved[0], micro_batch=entry.number)
    for account in entry.accounts:
        if not account.balances:
            findings.add(
                Invariant.BALANCE,
                f"the entry does not balance: {account.kept:,} kept + {account.filtered:,} filtered + {account.quarantined:,} quarantined + "
                f"{account.gaps:,} gaps are not {len(account.range):,} offsets",
                topic=account.topic,
                partition=account.partition,
                from_offset=account.from_offset,
                until_offset=account.until_offset,
                micro_batch=entry.number,
            )


def _check_neighbours(links: Mapping[int, Link], number: int, findings: Findings) -> None:
    """An entry joins the one before it, and the next one was published after just this one."""
    before, this, after = links.get(number - 1), links[number], links.get(number + 1)
    if (before or number == 0) and (wrong := joined(before, this.entry)):
        findings.add(Invariant.RANGES_JOIN, wrong, micro_batch=number)
    if after and (wrong := joined(this, after.entry)):
        findings.add(Invariant.RANGES_JOIN, wrong, micro_batch=number)


def _check_start(folder: Folder, identity: Identity, findings: Findings) -> None:
    """identity.json must begin where Spark did: an entry that was emptied to fit a later start balances."""
    for place, began in checkpoints.first_offsets(folder.checkpoint).items():
        if (start := identity.start.get(place)) not in (began, None):
            findings.add(
                Invariant.RANGES_JOIN,
                f"the ledger starts at offset {start} according to identity.json, but at {began} according to Spark's first plan (checkpoint/sources/0/0)",
                topic=place.topic,
                partition=place.partition,
                file="identity.json",
                doubts_everything=True,
            )


def _check_end(folder: Folder, identity: Identity, newest: Link | None, committed: Sequence[int], number: int, findings: Findings) -> None:
    if identity.checkpoint is None and number < 0 and not committed:
        return  # Spark is about to plan the first micro-batch, or was killed before it did
    try:
        if (found := checkpoints.checkpoint_id(folder.checkpoint)) != identity.checkpoint:
            message = f"the ledger belongs to checkpoint {identity.checkpoint}, but there is {found or 'none'}"
            findings.add(Invariant.RANGES_JOIN, message, doubts_everything=True)
        elif committed and committed[-1] > number:
            findings.add(
                Invariant.RANGES_JOIN,
                f"the checkpoint has committed micro-batch {committed[-1]}, but the ledger ends at {number}: entries are missing",
                micro_batch=committed[-1],
            )
        elif newest and (planned := checkpoints.planned_until(folder.checkpoint, number, identity.start)) != (
            ends := following(identity, newest)
        ):
            findings.add(Invariant.RANGES_JOIN, f"the ledger ends at {ends}, the checkpoint's plan at {planned}", micro_batch=number)
    except LedgerError as error:
        findings.add(Invariant.RANGES_JOIN, str(error), doubts_everything=True)
