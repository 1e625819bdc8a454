"""I9: what Kafka holds after the ledger's end. What is there waits; what is gone was never published, and is lost."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from headrace.kafka.cluster import Cluster
from headrace.kafka.offsets import OffsetRange, Offsets
from headrace.kafka.transactions import OpenTransaction, moment, open_transactions
from headrace.ledger.guard import TopicSnapshot
from headrace.ledger.receipts import Receipt
from headrace.verify.result import Hidden, Waiting, WaitingPartition

CLOCKS_DIFFER = timedelta(minutes=1)
"""By how much a producer's clock may be ahead of this one."""


class Frontier(msgspec.Struct, frozen=True):
    """Everything after the ledger's end: what waits, and what left Kafka before it was published."""

    waiting: list[OffsetRange]
    lost: list[OffsetRange]


def frontier(topics: TopicSnapshot, following: Offsets) -> Frontier:
    """Split what comes after the ledger into what Kafka still has and what it removed.

    Args:
        topics: as they are now
        following: the next offset of each partition; one that the ledger does not name yet is read from its first record
    """
    waiting, lost = [], []
    for place, last in topics.last.items():
        at, earliest = following.get(place, 0), topics.earliest[place]
        if earliest > at:
            lost.append(OffsetRange(*place, at, earliest))
        if last > (there := max(at, earliest)):
            waiting.append(OffsetRange(*place, there, last))
    return Frontier(waiting, lost)


def lost_of_receipts(
    receipts: Iterable[Receipt], topics: TopicSnapshot, ends: Offsets | None = None, *, known: Collection[str] = ()
) -> list[tuple[str, OffsetRange]]:
    """Per run, the offsets of its batch that are not published and not in Kafka: its producer can prove that they were there.

    Args:
        receipts: of batches that are not verified yet
        topics: as they are now
        ends: where the ledger ends, behind which `frontier` finds what has aged out; `None` before the first stream
        known: topics of the ledger: of those that are gone or were created again, I6 says so
    """
    lost = []
    for receipt in receipts:
        for landing in receipt.landings:
            place, until = landing.place, landing.highest_offset + 1
            if place.topic in known and place.topic not in topics.ids:
                continue
            at = max(landing.lowest_offset, (ends or Offsets()).get(place, 0))
            earliest, last = topics.earliest.get(place, 0), topics.last.get(place, 0)
            if ends is None and earliest > at:
                lost.append((receipt.run, OffsetRange(*place, at, min(earliest, until))))
            if max(at, last) < until:
                lost.append((receipt.run, OffsetRange(*place, max(at, last), until)))
    return lost


def waiting(kafka: Cluster, topics: TopicSnapshot, ranges: Sequence[OffsetRange], since: datetime | None) -> Waiting:
    """What waits, with the age of the oldest record and the transactions that hide some of it.

    Args:
        kafka: the cluster
        topics: as they are now
        ranges: as `frontier` found them
        since: when the last stream that ran to its end began; `None` before the first
    """
    offsets = Offsets({each.place: each.from_offset for each in ranges})
    oldest = {place: moment(milliseconds) for place, milliseconds in kafka.first_timestamps(offsets).items()}
    now = datetime.now(UTC)  # after the timestamps: what arrived since this run began is not of the future
    stable = Offsets({place: topics.end[place] for place in offsets})
    hiding = {each.place: each for each in open_transactions(kafka, stable, topics.last, now)}
    ages = [_waited(each, oldest.get(each.place), hiding.get(each.place), now, since) for each in ranges]
    return Waiting(
        offsets=sum(map(len, ranges)),
        oldest_seconds=max((each for each in ages if each is not None), default=None),
        partitions=[
            WaitingPartition(
                topic=each.topic,
                partition=each.partition,
                from_offset=each.from_offset,
                until_offset=each.until_offset,
                oldest_at=oldest.get(each.place),
                hidden=_hidden(hiding.get(each.place), each, kafka.servers),
            )
            for each in ranges
        ],
    )


def age(at: datetime | None, now: datetime, since: datetime | None) -> float | None:
    """Seconds for which a record has waited.

    Its timestamp counts if it lies between `since`, when the last complete stream began, and now, give or take what clocks differ. Records that are replayed carry old
    timestamps, and bad clocks future ones: those wait since that stream began, which is the longest that they can have.
    """
    if since is not None and since > now:
        since = None  # its clock was ahead
    if at is not None and at <= now + CLOCKS_DIFFER and (since is None or at >= since):
        return max((now - at).total_seconds(), 0.0)
    return None if since is None else (now - since).total_seconds()


def _waited(waits: OffsetRange, at: datetime | None, hiding: OpenTransaction | None, now: datetime, since: datetime | None) -> float | None:
    """Seconds for which the first record of a range has waited: behind an open transaction it may be for longer than since the last stream."""
    if hiding and hiding.began_at and hiding.is_certain and hiding.stable_offset <= waits.from_offset:
        return max((now - hiding.began_at).total_seconds(), 0.0)
    return age(at, now, since)


def _hidden(transaction: OpenTransaction | None, waits: OffsetRange, servers: str) -> Hidden | None:
    if transaction is None:
        return None
    return Hidden(
        stable_offset=transaction.stable_offset,
        offsets=waits.until_offset - max(transaction.stable_offset, waits.from_offset),
        began_at=transaction.began_at,
        hanging=transaction.is_hanging,
        abort=transaction.abort_command(servers) if transaction.is_hanging else None,
    )
