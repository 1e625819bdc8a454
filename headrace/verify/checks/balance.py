"""I6: what the ledger counts is what Kafka holds."""

from collections import Counter
from collections.abc import Iterable, Mapping

from headrace.contract.verdicts import Verdict
from headrace.errors import UnavailableError, UnsupportedLoginError
from headrace.kafka.cluster import Cluster
from headrace.kafka.gaps import unexplained
from headrace.kafka.offsets import OffsetRange
from headrace.ledger.entry import COLUMNS, Account, Entry
from headrace.ledger.guard import TopicSnapshot, topic_differences
from headrace.ledger.opening import check_last_records
from headrace.verify.accepted import Accepted
from headrace.verify.findings import Advice, Findings, Invariant
from headrace.verify.snapshot import Snapshot

BALANCE = Invariant(
    id="I6",
    word="balance",
    title="kept + filtered + quarantined + gaps = offsets in the range; each gap is explained",
    unit="ranges",
    advice=Advice(
        means="What the ledger counts is not what Kafka holds: records were lost or counted wrongly, or these are not the topics that were read.",
        do="If a topic was deleted and created again, or this is another Kafka, name the right one (`kafka_default`, `--bootstrap-servers`). "
        "If Kafka removed records from the middle of a range, `headrace accept {pipeline} --reason …` writes them down as lost. "
        "`headrace reset {pipeline}` moves the data aside and reads again whatever Kafka still holds.",
    ),
)


def check_topics(kafka: Cluster, snapshot: Snapshot, topics: TopicSnapshot, findings: Findings) -> None:
    """The topics must be the ledger's own, even if nothing is left to verify against them."""
    if snapshot.identity is None:
        return
    others = set()
    for topic, partition, what in topic_differences(snapshot.identity, snapshot.ends, topics):
        message = f"{what}. If this is another Kafka than the one that was read from, name that one"
        findings.add(BALANCE, message, topic=topic, partition=partition, doubts_everything=True)
        others.add(topic)
    known = [last for last in snapshot.verified.last_records if last.topic not in others]
    for last in check_last_records(kafka, topics, known):
        findings.add(
            BALANCE,
            f"offset {last.offset} holds a different record from the one that was verified there: Kafka lost the end of this partition and it was "
            "filled again. Records at offsets that were published before are in no file",
            topic=last.topic,
            partition=last.partition,
            from_offset=last.offset,
            until_offset=last.offset + 1,
            doubts_everything=True,
        )


def check_compaction(snapshot: Snapshot, topics: TopicSnapshot, findings: Findings) -> None:
    """No topic of the ledger is compacted."""
    known = snapshot.identity.topics if snapshot.identity else {}
    for topic in sorted(known.keys() & set(topics.compacted)):
        findings.add(
            BALANCE,
            "the topic is compacted (cleanup.policy): Kafka removes records from it by their keys",
            topic=topic,
        )


def check_entry_balances(entry: Entry, findings: Findings) -> None:
    """Each account of an entry adds up."""
    for account in entry.accounts:
        if not account.balances:
            message = (
                f"the entry does not balance: {account.kept:,} kept + {account.filtered:,} filtered + {account.quarantined:,} quarantined + "
                f"{account.gaps:,} gaps are not {len(account.range):,} offsets"
            )
            findings.add_range(BALANCE, message, account.range, micro_batch=entry.number)


def check_account(
    account: Account,
    judged: Mapping[Verdict, int],
    read: int,
    missing: OffsetRange | None,
    rows: tuple[int, int],
    micro_batch: int,
    findings: Findings,
) -> None:
    """Hold an entry's counts against what was read and judged.

    Offsets that hold no record are gaps, confirmed by this read.

    Args:
        account: The entry's, of one range.
        judged: How many records got which verdict.
        read: How many records the range held.
        missing: The part of the range that Kafka no longer has. What is neither kept nor quarantined there
            was filtered or a gap, and nothing says which.
        rows: How many kept and quarantined rows lie on disk of that part.
        micro_batch: Number of the entry.
        findings: Takes what does not hold.
    """
    findings.checked[BALANCE] += 1
    found = {verdict.value: judged[verdict] for verdict in Verdict}
    found["gaps"] = len(account.range) - (len(missing) if missing else 0) - read
    claimed = {column: getattr(account, column) for column in COLUMNS}
    if missing:
        found["kept"] += rows[0]
        found["quarantined"] += rows[1]
        # Unseen offsets: believe the entry's "filtered" as far as there is room; the rest are gaps.
        unseen = len(account.range) - sum(found.values())
        found["filtered"] = found["filtered"] + min(max(claimed["filtered"] - found["filtered"], 0), unseen)
        found["gaps"] = len(account.range) - sum(found[column] for column in COLUMNS if column != "gaps")
    for column, number in found.items():
        if claimed[column] != number:
            message = f"the entry claims {claimed[column]:,} {column}, an independent read finds {number:,}"
            findings.add_range(BALANCE, message, account.range, micro_batch=micro_batch)


class Gaps:
    """Offsets that hold no record for a committed reader.

    A transaction explains them, or Kafka has removed what was there.

    Attributes:
        unchecked: Per micro-batch, how many could not be looked into.
        lost: What Kafka removed before it was published, and was not accepted.
        removed_since: What it removed of micro-batches since they were proven.
    """

    def __init__(self, kafka: Cluster, accepted: Accepted, findings: Findings) -> None:
        self.kafka = kafka
        self.accepted = accepted
        self.findings = findings
        self.unchecked: Counter[int] = Counter()
        self.lost: list[OffsetRange] = []
        self.removed_since: list[OffsetRange] = []

    def removed(self, gaps: list[OffsetRange], unchecked: Mapping[int, int]) -> list[OffsetRange]:
        """The offsets that are neither a transaction's marker nor a record that was aborted.

        All are of one topic-partition.

        Args:
            unchecked: How many of them are in which micro-batch, to be counted as not checked if Kafka can't
                be asked.
        """
        if not gaps:
            return []
        place = gaps[0].place
        try:
            removed = self._unexplained(gaps)
            if removed:  # a leader that is new may not know yet how far its log is complete; once it has reported the end, it does
                self.kafka.end([place.topic], committed=False)
                removed = self._unexplained(removed)
        except UnsupportedLoginError:
            self.unchecked.update(unchecked)
            self.findings.not_checked(BALANCE)
            return []
        earliest = self.kafka.earliest([place.topic]).get(place) if removed else None
        if removed and (earliest is None or earliest > removed[0].from_offset):
            raise UnavailableError(f"{removed[0]} left Kafka while verify was reading it. Run verify again.")
        return self.accepted.not_lost(removed)

    def _unexplained(self, gaps: list[OffsetRange]) -> list[OffsetRange]:
        return unexplained(gaps, lambda offset: self.kafka.record_batches(gaps[0].place, offset))

    def report(self, removed: Iterable[OffsetRange], entry: Entry, gaps: Iterable[OffsetRange]) -> None:
        """Each offset without a committed record is a transaction's marker, or a record that was aborted.

        Args:
            gaps: All offsets of the entry without one; where it accounts for fewer, records left Kafka that
                it published: those are not lost.
        """
        is_lost = sum(map(len, gaps)) <= entry.total("gaps")
        for each in removed:
            self.lost += [each] if is_lost else []
            message = (
                "removed by Kafka (compaction or damage): no transaction explains why there is no record"
            )
            self.findings.add_range(BALANCE, message, each, micro_batch=entry.number)
