"""I5: the entries are one chain, from where identity.json starts to where the checkpoint ends."""

from collections.abc import Mapping, Sequence

from headrace.errors import LedgerError
from headrace.ledger import checkpoint as checkpoints
from headrace.ledger.entries import Link, joined
from headrace.ledger.entry import CHECKED_KINDS, Entry
from headrace.ledger.folder import Folder
from headrace.ledger.guard import following
from headrace.ledger.identity import Identity
from headrace.verify.checks.balance import check_entry_balances
from headrace.verify.findings import Advice, Findings, Invariant
from headrace.verify.snapshot import Snapshot

RANGES = Invariant(
    id="I5",
    word="ranges",
    title="offset ranges join from the start to the checkpoint's last commit",
    unit="entries",
    advice=Advice(
        means="The chain of micro-batches has a hole or an overlap, or does not end where the checkpoint ends: records may be missing or doubled.",
        do="Put back the missing `micro_batch=…` folder, identity.json or checkpoint from a copy; entries must not be edited. "
        "Without a copy, `headrace reset {pipeline}` starts again from what Kafka still holds.",
    ),
    is_restorable=True,
)


def check_proven(snapshot: Snapshot, findings: Findings) -> None:
    """What was in the scope or proven before is still there, as it was."""
    for gone in snapshot.scope.micro_batches:
        if gone > snapshot.newest:  # one before is missing in the listing
            findings.add(RANGES, "the micro-batch was there before and is missing now", micro_batch=gone)
    _check_mark(snapshot, findings)


def check_chain(snapshot: Snapshot, findings: Findings) -> None:
    """Entries join, begin with identity.json, and end with the checkpoint.

    Before the files are read, which takes time: Spark removes old plans meanwhile.
    """
    folder, identity, newest = snapshot.folder, snapshot.identity, snapshot.newest
    if identity is None:
        if newest >= 0 or snapshot.committed or folder.started.exists() or folder.streamed.exists():
            message = "identity.json is missing, so it is not known where the ledger starts"
            findings.add(RANGES, message, file="identity.json", doubts_everything=True)
        return
    findings.checked[RANGES] += len(snapshot.looked_at)
    for number in sorted(snapshot.looked_at):
        if number in snapshot.links:
            _check_entry(snapshot.links[number].entry, identity, findings)
            _check_neighbours(snapshot.links, number, findings)
    _check_start(folder, identity, findings)
    _check_end(folder, identity, snapshot.links.get(newest), snapshot.committed, newest, findings)


def _check_mark(snapshot: Snapshot, findings: Findings) -> None:
    """What was proven must still be there, as it was."""
    mark = snapshot.verified.mark
    if mark is None:
        return
    if mark.number > snapshot.newest:
        findings.add(
            RANGES,
            f"verify has proven micro-batches up to {mark.number}, and the ledger ends at {snapshot.newest}: what came after was "
            "removed or rolled back. Put back what was removed; if ledger and checkpoint were put back together from a copy, the next ingest "
            "publishes the rest again, as far as Kafka still has it",
        )
    elif mark.number in snapshot.links and snapshot.links[mark.number].sha256 != mark.sha256:
        message = (
            f"the entry of micro-batch {mark.number} has changed since it was verified; entries never change"
        )
        findings.add(RANGES, message, micro_batch=mark.number)


def _check_entry(entry: Entry, identity: Identity, findings: Findings) -> None:
    if entry.kind not in CHECKED_KINDS:
        message = f"this version of Headrace can't check entries of kind {entry.kind}: use the version that wrote it"
        findings.add(RANGES, message, micro_batch=entry.number)
    if (entry.checkpoint, entry.contract.format, entry.contract.fields) != (
        identity.checkpoint,
        identity.contract.format,
        identity.contract.fields,
    ):
        message = "the entry belongs to another checkpoint than identity.json names, or has other fields"
        findings.add(RANGES, message, micro_batch=entry.number)
    if moved := [
        f"{place} starts at {offset}, by identity.json at {identity.start.get(place, 'no offset')}"
        for place, offset in entry.starts.items()
        if identity.start.get(place) != offset
    ]:
        findings.add(RANGES, moved[0], micro_batch=entry.number)
    check_entry_balances(entry, findings)


def _check_neighbours(links: Mapping[int, Link], number: int, findings: Findings) -> None:
    """An entry joins the one before it, and the next one was published after just this one."""
    before, this, after = links.get(number - 1), links[number], links.get(number + 1)
    if (before or number == 0) and (wrong := joined(before, this.entry)):
        findings.add(RANGES, wrong, micro_batch=number)
    if after and (wrong := joined(this, after.entry)):
        findings.add(RANGES, wrong, micro_batch=number)


def _check_start(folder: Folder, identity: Identity, findings: Findings) -> None:
    """identity.json must begin where Spark did: an entry that was emptied to fit a later start balances."""
    for place, began in checkpoints.first_offsets(folder.checkpoint).items():
        if (start := identity.start.get(place)) not in (began, None):
            findings.add(
                RANGES,
                f"the ledger starts at offset {start} according to identity.json, but at {began} according to Spark's first plan (checkpoint/sources/0/0)",
                topic=place.topic,
                partition=place.partition,
                file="identity.json",
                doubts_everything=True,
            )


def _check_end(
    folder: Folder,
    identity: Identity,
    newest: Link | None,
    committed: Sequence[int],
    number: int,
    findings: Findings,
) -> None:
    if identity.checkpoint is None and number < 0 and not committed:
        return  # Spark is about to plan the first micro-batch, or was killed before it did
    try:
        if (found := checkpoints.checkpoint_id(folder.checkpoint)) != identity.checkpoint:
            message = (
                f"the ledger belongs to checkpoint {identity.checkpoint}, but there is {found or 'none'}"
            )
            findings.add(RANGES, message, doubts_everything=True)
        elif committed and committed[-1] > number:
            findings.add(
                RANGES,
                f"the checkpoint has committed micro-batch {committed[-1]}, but the ledger ends at {number}: entries are missing",
                micro_batch=committed[-1],
            )
        elif newest and (planned := checkpoints.planned_until(folder.checkpoint, number, identity.start)) != (
            ends := following(identity, newest)
        ):
            findings.add(
                RANGES, f"the ledger ends at {ends}, the checkpoint's plan at {planned}", micro_batch=number
            )
    except LedgerError as error:
        findings.add(RANGES, str(error), doubts_everything=True)
