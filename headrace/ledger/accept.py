"""Accepting, on the record, what can't be published or proven any more: an entry of kind `accepted`."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from headrace import documents
from headrace.contract.pipeline import Pipeline
from headrace.errors import Code, RefusedError
from headrace.kafka.offsets import OffsetRange, Offsets, advance
from headrace.ledger import publish, recovery
from headrace.ledger.entries import Link, newest_link, split_lost
from headrace.ledger.entry import RULES, Acceptance, Entry, EntryKind, Sha256, Totals
from headrace.ledger.folder import Folder
from headrace.ledger.guard import check_checkpoint, check_pipeline, following, starts_of_new
from headrace.ledger.identity import Identity, read_identity
from headrace.ledger.progress import roll_back


class Unprovable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can't be published or proven any more.

    Ranges of a topic-partition are in order and do not overlap.
    """

    pipeline: str
    after: Sha256 | None
    """SHA-256 of the newest entry when the list was made; null before the first."""
    lost: list[OffsetRange]
    """Never published, gone from Kafka: behind the ledger's end, or gaps within it that no transaction
    explains."""
    unproven: list[OffsetRange]
    """Published, gone from Kafka before verify read them."""

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.lost or self.unproven)

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, as hex digits: who agrees to a list agrees to this one."""
        return hashlib.sha256(documents.encode(self)).hexdigest()

    def covers(self, other: "Unprovable") -> bool:
        """Whether everything of another list is in this one, too."""
        return _contains(self.lost, other.lost) and _contains([*self.unproven, *self.lost], other.unproven)


def _contains(whole: Sequence[OffsetRange], parts: Sequence[OffsetRange]) -> bool:
    return all(
        any(
            each.place == part.place
            and each.from_offset <= part.from_offset
            and part.until_offset <= each.until_offset
            for each in whole
        )
        for part in parts
    )


def accept(
    folder: Folder,
    pipeline: Pipeline,
    listed: Unprovable,
    topics: Mapping[str, str],
    *,
    by: str,
    reason: str,
    run: str,
    shown: str | None = None,
) -> Entry:
    """Write the entry that accepts what is listed.

    The caller holds the lock, and has made sure that it is still as listed.

    Args:
        folder: The pipeline's folder.
        pipeline: Its file.
        listed: What is accepted, after the newest entry that there is.
        topics: Name and id of each topic: one that is new to the ledger joins with its lost offsets.
        by: Who accepts it.
        reason: Why.
        run: The run that writes the entry.
        shown: Digest of the list that was shown before the answer; nothing on a command line.

    Raises `RefusedError` or `LedgerError` where a stream would be refused as well, or if the ledger has moved
    on since it was listed.
    """
    identity, newest = read_identity(folder), newest_link(folder)
    if listed.after != (newest.sha256 if newest else None):
        raise RefusedError(
            "The ledger has moved on since the list was made. Make a new list.", code=Code.LIST_OUTDATED
        )
    if identity is None:
        raise RefusedError(
            f"No stream has run in {folder.root} yet, so there is no ledger to accept anything in.",
            code=Code.NO_STREAM,
        )
    check_pipeline(folder, identity, pipeline)
    number = newest.entry.number + 1 if newest else 0
    identity = _with_new_partitions(
        recovery.recover(folder, identity, number - 1, following(identity, newest)),
        [each for each in listed.lost if not each.from_offset],
        topics,
    )
    check_checkpoint(folder, identity, newest)
    accepted = Acceptance(by=by, reason=reason, lost=listed.lost, unproven=listed.unproven, shown=shown)
    try:
        within, behind = split_lost(accepted, following(identity, newest))
        ends = advance(_planned(identity, newest, behind), behind)
    except ValueError as error:
        raise RefusedError(
            f"The ledger has moved on since the list was made: {error}. Make a new list.",
            code=Code.LIST_OUTDATED,
        ) from error
    roll_back(folder, newest)
    publish.prepare(folder, identity.contract, number - 1)
    documents.write(folder.identity, identity)
    identity = recovery.write_plan(folder, identity, number, ends)
    now = datetime.now(UTC)
    entry = Entry(
        kind=EntryKind.ACCEPTED,
        number=number,
        previous=newest.sha256 if newest else None,
        checkpoint=str(identity.checkpoint),
        run=run,
        rules=RULES,
        contract=newest.entry.contract if newest else identity.contract,
        planned_at=now,
        published_at=now,
        starts=starts_of_new(newest, ends, identity.start),
        offsets=ends,
        accounts=[],
        totals=(newest.entry.totals if newest else Totals()).less_gaps(within),
        events=[],
        quarantine=[],
        accepted=accepted,
    )
    publish.commit(folder, publish.stage(folder, number), entry)
    return entry


def _with_new_partitions(identity: Identity, lost: Sequence[OffsetRange], ids: Mapping[str, str]) -> Identity:
    """The identity with partitions that no stream has read yet.

    Their first records left Kafka before one could.
    """
    start = Offsets({each.place: each.from_offset for each in lost}) | identity.start
    new = {
        topic: ids[topic] for topic in sorted(start.topics) if topic not in identity.topics and topic in ids
    }
    return msgspec.structs.replace(identity, topics={**identity.topics, **new}, start=start)


def _planned(identity: Identity, newest: Link | None, behind: Sequence[OffsetRange]) -> Offsets:
    """Where the partitions of the plan stand: those of the last one, and new ones that have lost offsets.

    The first plan has all.
    """
    if newest is None:
        return identity.start
    return Offsets({each.place: identity.start[each.place] for each in behind}) | newest.entry.offsets
