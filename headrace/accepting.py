"""The way out when Kafka removed records before they were published or verified.

What can't be proven is listed, and accepted on the record.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter

import msgspec

from headrace.contract.pipeline import Pipeline
from headrace.errors import Code, RefusedError
from headrace.kafka.cluster import Cluster
from headrace.kafka.offsets import OffsetRange, merged, without
from headrace.ledger import accept as accepting
from headrace.ledger.accept import Unprovable
from headrace.ledger.entries import newest_link
from headrace.ledger.entry import Entry
from headrace.ledger.folder import Folder
from headrace.ledger.identity import read_identity
from headrace.ledger.progress import roll_back, stored_verified
from headrace.text import plural
from headrace.verify.run import Verification
from headrace.verify.scope import since_verified

MAX_RANGES = 200
"""Ranges of each kind that are listed one by one: a topic that was compacted may have one for each record."""


def unprovable(folder: Folder, pipeline: Pipeline, kafka: Cluster) -> Unprovable:
    """Judge all that is not proven yet, as a verify run does, and list what can't be.

    Changes nothing that the opening of the ledger would not.

    Raises `RefusedError` where the list would mean nothing: no stream has run, the topics are others, the
    checkpoint is gone.
    """
    if read_identity(folder) is None:
        raise RefusedError(
            f"No stream has run in {folder.root}, so nothing was published and there is nothing to accept. If receipts of batches stand in the "
            f"way, `headrace reset {pipeline.name}` moves them aside.",
            code=Code.NO_STREAM,
        )
    newest = newest_link(folder)
    with folder.locked("the list of what can't be proven"):
        roll_back(folder, newest)  # if the ledger was put back from a copy, it decides what is proven
    verification = Verification(
        folder, pipeline, kafka, since_verified(folder), stored_verified(folder).number
    )
    report = verification.run("accept")
    if report.recheck.everything:
        doubts = next(
            each
            for wanted in ("I5", "I6")
            for invariant in report.invariants
            if invariant.id == wanted
            for each in invariant.findings
        )
        raise RefusedError(
            f"Nothing can be accepted while this is so: {doubts.message}. `headrace verify {pipeline.name}` says what to do.",
            code=Code.ALL_IN_DOUBT,
        )
    own = {topic.name for topic in pipeline.topics}
    lost = _joined(each for each in verification.lost if each.topic in own)
    unproven = [left for each in _joined(verification.unproven) for left in without(each, lost)]
    return Unprovable(
        pipeline=pipeline.name, after=newest.sha256 if newest else None, lost=lost, unproven=unproven
    )


def explain(listed: Unprovable) -> Iterator[str]:
    """What an acceptance of a list does, in lines, before it is done."""
    if listed.lost:
        yield f"Lost: {plural(_count(listed.lost), 'offset')} left Kafka before a stream published them. They are written down as lost, and the next stream goes on after them."
        yield from _places(listed.lost)
    if listed.unproven:
        yield f"Unproven: {plural(_count(listed.unproven), 'offset')} were published, and left Kafka before verify read them. Their rows stay as they are."
        yield from _places(listed.unproven)


def accept(
    folder: Folder,
    pipeline: Pipeline,
    kafka: Cluster,
    listed: Unprovable,
    *,
    by: str,
    reason: str,
    run: str,
    shown: str | None = None,
) -> Entry:
    """Accept just what is listed; see `headrace.ledger.accept.accept`.

    Raises `RefusedError` if something of it can be proven by now, or belongs to another ledger.
    """
    newest = newest_link(folder)
    if (
        shown
        and newest
        and newest.entry.run == run
        and newest.entry.accepted
        and newest.entry.accepted.shown == shown
    ):
        return newest.entry  # an earlier try of the task, which was killed before it could say so
    by, reason = _plain(by), _plain(reason)
    has_moved = listed.after != (newest.sha256 if newest else None)
    if has_moved:
        now = unprovable(folder, pipeline, kafka)
        if not now.covers(listed):
            raise RefusedError(
                "Not all of what was listed is lost or unproven any more, so nothing was accepted. Make a new list.",
                code=Code.LIST_OUTDATED,
            )
        listed = msgspec.structs.replace(listed, after=now.after)
    topics = {
        topic: facts.id for topic, facts in kafka.describe([each.name for each in pipeline.topics]).items()
    }
    with folder.locked(f"the acceptance by {by}"):
        return accepting.accept(folder, pipeline, listed, topics, by=by, reason=reason, run=run, shown=shown)


def _plain(text: str) -> str:
    """Text on one line that can be written as UTF-8: arguments of a command may hold any byte."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


def _count(ranges: Iterable[OffsetRange]) -> int:
    return sum(map(len, ranges))


def _places(ranges: Sequence[OffsetRange]) -> Iterator[str]:
    for each in ranges[:MAX_RANGES]:
        yield f"  {each.place}: offsets {each.from_offset:,} to {each.until_offset - 1:,}"
    if len(ranges) > MAX_RANGES:
        yield f"  and {plural(len(ranges) - MAX_RANGES, 'more range')}"


def _joined(ranges: Iterable[OffsetRange]) -> list[OffsetRange]:
    by_place = groupby(sorted(ranges), key=attrgetter("place"))
    return [each for _, of_place in by_place for each in merged(of_place)]
