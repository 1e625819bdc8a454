"""I9: nothing after the ledger's end left Kafka unread.

What is there waits; what is gone was never published, and is lost.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from headrace.contract.pipeline import Pipeline
from headrace.errors import Code, LedgerError, UnavailableError
from headrace.kafka.cluster import Cluster
from headrace.kafka.offsets import OffsetRange, Offsets
from headrace.kafka.transactions import OpenTransaction, moment, open_transactions
from headrace.ledger.entries import newest_link, newest_number, read_link
from headrace.ledger.entry import EntryKind
from headrace.ledger.guard import TopicSnapshot, following
from headrace.ledger.identity import Identity
from headrace.ledger.opening import starting_offsets
from headrace.ledger.progress import read_streamed, unfinished
from headrace.ledger.receipts import Receipt
from headrace.verify.findings import Advice, Findings, Invariant
from headrace.verify.result import Hidden, Waiting, WaitingPartition
from headrace.verify.snapshot import Snapshot

FRONTIER = Invariant(
    id="I9",
    word="frontier",
    title="nothing after the ledger's end left Kafka unread; what waits is counted",
    unit="partitions",
    advice=Advice(
        means="Records left Kafka before a stream published them, or the first stream never published anything. What is published is not in doubt.",
        do="If a stream did not finish, look at the log of `stream_to_parquet` and run {pipeline}_ingest again. If offsets are lost, lengthen the topic's "
        "retention well above the time between two runs; `headrace accept {pipeline} --reason …` writes them down as lost, and the next stream goes on "
        "behind them.",
    ),
    is_about_published=False,
)

CLOCKS_DIFFER = timedelta(minutes=1)
"""By how much a producer's clock may be ahead of this one."""


@dataclass
class FrontierCheck:
    """What comes after the ledger's end.

    Args:
        pipeline: Its file: before the first stream it says where that begins.
        kafka: The cluster.
        snapshot: The folder.
        topics: As they are now, among them those of the file, the ledger and the receipts.
        findings: Takes what does not hold.

    Attributes:
        lost: What was never published and left Kafka, and is not accepted.
    """

    pipeline: Pipeline
    kafka: Cluster
    snapshot: Snapshot
    topics: TopicSnapshot
    findings: Findings
    lost: list[OffsetRange] = field(default_factory=list)

    def check(self) -> Waiting:
        """Report what is lost, and count what waits.

        Raises:
            UnavailableError: A stream that is running decides what there is to say.
        """
        folder, identity, receipts = self.snapshot.folder, self.snapshot.identity, self.snapshot.receipts
        topics = self.topics.of(self._known_topics())
        self.findings.checked[FRONTIER] += len(topics.last)
        if identity is None:  # no stream ever ran: only what a producer can prove to have sent can be lost
            found = frontier(topics, starting_offsets(self.pipeline, self.kafka, topics))
            lost = lost_of_receipts(receipts, topics)
        else:
            self._check_first_stream()
            ends = following(identity, self.snapshot.last)
            found = frontier(topics, ends)
            if found.lost and self.snapshot.newest in {-1, *self.snapshot.links}:
                self.lost = self._lost(topics, identity)
            lost = [("", each) for each in self.lost]
            lost += lost_of_receipts(receipts, topics, ends, known=identity.topics)
        for run, each in lost:
            message = f"offsets {each.from_offset} to {each.until_offset - 1}{f' of run {run}' if run else ''} left Kafka before a stream read them: they are lost"
            self.findings.add_range(FRONTIER, message, each)
        last = None if folder.is_being_written() else unfinished(folder)
        return msgspec.structs.replace(
            waiting(self.kafka, topics, found.waiting, self._waiting_since()),
            unfinished=last.run if last else None,
            before_any_stream=identity is None,
        )

    def _known_topics(self) -> list[str]:
        """The topics that are those of the ledger, or new to it."""
        known = self.snapshot.identity.topics if self.snapshot.identity else {}
        return [topic for topic, found in self.topics.ids.items() if known.get(topic, found) == found]

    def _check_first_stream(self) -> None:
        """A stream that began must have published something, or be about to."""
        folder = self.snapshot.folder
        is_written = folder.is_being_written()  # before the folder is looked at again
        if self.snapshot.newest >= 0 or self.snapshot.committed or newest_number(folder) >= 0:
            return
        if is_written:
            self._leave_it_to_the_stream("A stream is running its first micro-batch")
            return
        last = unfinished(folder)
        what = f"the last stream ({last.run}) did not finish" if last else "though a stream ran"
        self.findings.add(FRONTIER, f"nothing was published: {what}")

    def _lost(self, topics: TopicSnapshot, identity: Identity) -> list[OffsetRange]:
        """What is lost for sure.

        A stream may have published it since the ledger was read, and may be about to.
        """
        is_written = self.snapshot.folder.is_being_written()
        try:
            newest = newest_link(self.snapshot.folder)
        except LedgerError:
            newest = self.snapshot.last  # I5 or I8 says what is wrong with it
        lost = frontier(topics, following(identity, newest)).lost
        if lost and is_written:
            self._leave_it_to_the_stream(
                f"{lost[0]} has left Kafka, and a stream is running that may have read it before"
            )
            return []
        return lost

    def _leave_it_to_the_stream(self, what: str) -> None:
        """Raise `UnavailableError`, since a stream decides what there is to say.

        Where something else is red, the next run says it.
        """
        if not self.findings.any:
            raise UnavailableError(f"{what}. Run verify again when it has ended.", code=Code.STREAM_RUNNING)

    def _waiting_since(self) -> datetime | None:
        """Start of the last complete stream, or else of the first: no visible record has waited longer."""
        if streamed := read_streamed(self.snapshot.folder):
            return streamed.started_at
        try:
            first = read_link(self.snapshot.folder, 0).entry if self.snapshot.newest >= 0 else None
        except LedgerError:
            return None
        return first.planned_at if first and first.kind is EntryKind.PUBLISHED else None


class Frontier(msgspec.Struct, frozen=True):
    """Everything after the ledger's end: what waits, and what left Kafka before it was published."""

    waiting: list[OffsetRange]
    lost: list[OffsetRange]


def frontier(topics: TopicSnapshot, following: Offsets) -> Frontier:
    """Split what comes after the ledger into what Kafka still has and what it removed.

    Args:
        topics: as they are now
        following: the next offset of each partition; one that the ledger does not name yet is read from its
            first record
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
    receipts: Iterable[Receipt],
    topics: TopicSnapshot,
    ends: Offsets | None = None,
    *,
    known: Collection[str] = (),
) -> list[tuple[str, OffsetRange]]:
    """Per run, the offsets of its batch that are not published and not in Kafka.

    Its producer can prove that they were there.

    Args:
        receipts: of batches that are not verified yet
        topics: as they are now
        ends: where the ledger ends, behind which `frontier` finds what has aged out; `None` before the first
            stream
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


def waiting(
    kafka: Cluster, topics: TopicSnapshot, ranges: Sequence[OffsetRange], since: datetime | None
) -> Waiting:
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

    Its timestamp counts if it lies between `since`, when the last complete stream began, and now, give or
    take what clocks differ. Records that are replayed carry old timestamps, and bad clocks future ones: those
    wait since that stream began, which is the longest that they can have.
    """
    if since is not None and since > now:
        since = None  # its clock was ahead
    if at is not None and at <= now + CLOCKS_DIFFER and (since is None or at >= since):
        return max((now - at).total_seconds(), 0.0)
    return None if since is None else (now - since).total_seconds()


def _waited(
    waits: OffsetRange,
    at: datetime | None,
    hiding: OpenTransaction | None,
    now: datetime,
    since: datetime | None,
) -> float | None:
    """Seconds for which the first record of a range has waited.

    Behind an open transaction it may be for longer than since the last stream.
    """
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
