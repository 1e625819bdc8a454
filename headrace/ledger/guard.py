"""What must hold before a stream may start.

It must be checked before: Spark writes its offset log first and fails then, and the checkpoint is stuck for
good.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.contract.pipeline import Pipeline
from headrace.errors import Code, LedgerError, OpenTransactionError, RefusedError, UsageError
from headrace.kafka.offsets import Offsets
from headrace.ledger.checkpoint import checkpoint_id, logged, planned_until
from headrace.ledger.entries import Link
from headrace.ledger.folder import Folder
from headrace.ledger.identity import Identity


@dataclass(frozen=True)
class TopicSnapshot:
    """What the broker says about the pipeline's topics now; a topic that does not exist is absent."""

    ids: Mapping[str, str]
    """Name → id."""
    earliest: Offsets
    end: Offsets
    """For committed readers: where a partition's first open transaction begins, or its end."""
    last: Offsets
    """The end of each partition, what an open transaction hides included."""
    compacted: Sequence[str] = ()
    """Topics from which Kafka removes records by their keys."""

    def of(self, topics: Collection[str]) -> "TopicSnapshot":
        """Of some of the topics."""
        ids = {topic: known for topic, known in self.ids.items() if topic in topics}
        return TopicSnapshot(
            ids, self.earliest.of(topics), self.end.of(topics), self.last.of(topics), self.compacted
        )


def check_checkpoint(folder: Folder, identity: Identity | None, newest: Link | None) -> None:
    """Raise `RefusedError` or `LedgerError` unless checkpoint, identity and newest entry belong together."""
    found = checkpoint_id(folder.checkpoint)
    reset = f"`headrace reset {folder.root.name}` moves everything aside and starts over."
    if identity is None:
        if found or newest:
            raise RefusedError(
                f"{folder.root} holds {'a checkpoint' if found else 'entries'} but no identity.json. Put it back, or {reset}",
                code=Code.IDENTITY_MISSING,
            )
        return
    if identity.checkpoint is not None and identity.checkpoint != found:
        raise RefusedError(
            f"The ledger in {folder.root} belongs to checkpoint {identity.checkpoint}, but there is {found or 'none'}. "
            f"A stream that starts over would publish records twice or not at all. Put the checkpoint back, or {reset}",
            code=Code.CHECKPOINT_OTHER,
        )
    if newest and identity.checkpoint is None:
        raise RefusedError(
            f"{folder.root} holds entries, but identity.json names no checkpoint. Put back the right one, or {reset}",
            code=Code.CHECKPOINT_OTHER,
        )
    committed, planned = logged(folder.checkpoint, "commits"), logged(folder.checkpoint, "offsets")
    last_entry = newest.entry.number if newest else -1
    last_commit, last_plan = (log[-1] if log else -1 for log in (committed, planned))
    if not last_commit <= last_entry <= last_plan or last_plan > last_entry + 1:
        raise LedgerError(
            f"Checkpoint and ledger disagree in {folder.root}: the last entry is micro-batch {last_entry}, the checkpoint has planned "
            f"{last_plan} and committed {last_commit}. One of them was rolled back or edited. Put both back from one point in time, or {reset}",
            code=Code.ROLLED_BACK,
        )
    if newest is None:
        return
    if newest.entry.checkpoint != identity.checkpoint:
        raise LedgerError(
            f"The entry of micro-batch {last_entry} in {folder.root} belongs to another checkpoint. Put back the right one, or {reset}",
            code=Code.CHECKPOINT_OTHER,
        )
    if (plan := planned_until(folder.checkpoint, last_entry, identity.start)) != (
        ends := following(identity, newest)
    ):
        raise LedgerError(
            f"Checkpoint and ledger disagree in {folder.root}: micro-batch {last_entry} ends at {plan} there and at {ends} here. {reset}",
            code=Code.ROLLED_BACK,
        )


def following(identity: Identity, newest: Link | None) -> Offsets:
    """The first offset of each partition that is not published."""
    return identity.start | (newest.entry.offsets if newest else {})


def starts_of_new(newest: Link | None, ends: Offsets, start: Offsets) -> Offsets:
    """Start offsets of the partitions that first appear in the next entry, which ends at `ends`."""
    known = newest.entry.offsets if newest else Offsets()
    return Offsets({place: start[place] for place in ends if place not in known})


def check_topics(folder: Folder, identity: Identity, newest: Link | None, topics: TopicSnapshot) -> None:
    """Raise `RefusedError` if a topic is another one or the next offsets are gone.

    Raises `OpenTransactionError` if a transaction hides them.
    """
    reset = f"`headrace reset {folder.root.name}` moves data and checkpoint aside and starts over from what Kafka holds now."
    if topics.compacted:
        raise RefusedError(
            f"Topic {', '.join(topics.compacted)} is compacted (cleanup.policy): Kafka removes records from it by their keys, so they can't be "
            "accounted for. Set its cleanup.policy to delete; what it has removed by then looks like a gap, so start behind that (`starting`, after a reset), "
            "or with a new topic.",
            code=Code.TOPIC_COMPACTED,
            topic=topics.compacted[0],
        )
    ends = following(identity, newest)
    for topic, partition, what in topic_differences(identity, ends, topics):
        raise RefusedError(
            f"{what}. What was published was not touched. {reset}",
            code=Code.TOPIC_OTHER if topic in topics.ids else Code.TOPIC_GONE,
            topic=topic,
            partition=partition,
        )
    for place, offset in ends.items():
        # Spark would take it for a loss, after it has written its plan.
        if (end := topics.end[place]) < offset:
            raise OpenTransactionError(
                f"{place}: the next offset is {offset}, and committed readers see the partition up to {end} only: a transaction is "
                "open whose beginning has left Kafka. When it has ended, run this again.",
                code=Code.TRANSACTION_OPEN,
                **place._asdict(),
                offset=offset,
            )
    if lost := {place: offset for place, offset in ends.items() if topics.earliest[place] > offset}:
        ranges = [
            f"{place} offsets {offset} to {topics.earliest[place] - 1}" for place, offset in lost.items()
        ]
        first, offset = next(iter(lost.items()))
        raise RefusedError(
            f"{'; '.join(ranges)} left Kafka before a stream could publish them: they are lost. To write that down and go on "
            f"after them: {_accept(folder.root.name)} A longer retention of the topic keeps it from happening again.",
            code=Code.OFFSETS_LOST,
            **first._asdict(),
            offset=offset,
        )


def _accept(pipeline: str) -> str:
    return f"`headrace accept {pipeline} --reason …`, or the DAG headrace_repair."


def topic_differences(
    identity: Identity, following: Offsets, topics: TopicSnapshot
) -> Iterator[tuple[str, int | None, str]]:
    """Differences between the ledger's topics and Kafka's.

    Topic, partition if it is about one, and what is wrong.

    Args:
        following: The first offset after all that is published, per topic-partition.
    """
    for topic, known in identity.topics.items():
        found = topics.ids.get(topic)
        if found is None:
            yield topic, None, f"Topic {topic} is gone from Kafka"
        elif found != known:
            what = f"Topic {topic} was deleted and created again (id {known} then, {found} now): its offsets start over and mean other records"
            yield topic, None, what
        else:
            for place, offset in following.of([topic]).items():
                end = topics.last.get(place)
                if end is None:
                    yield topic, place.partition, f"{place} was read so far and is gone from Kafka"
                elif end < offset:
                    what = f"{place}: the next offset is {offset} but the topic ends at {end}: records were removed from Kafka"
                    yield topic, place.partition, what


def check_pipeline(folder: Folder, identity: Identity, pipeline: Pipeline) -> None:
    """Raise `RefusedError` if the pipeline file has other fields than the files, or has lost a topic.

    Another filter is fine.
    """
    for topic in identity.topics:
        if topic not in {each.name for each in pipeline.topics}:
            raise RefusedError(
                f"Topic {topic} was read so far and is not in the pipeline file any more. Put it back, or `headrace reset {folder.root.name}` "
                "moves data and checkpoint aside and starts over.",
                code=Code.TOPIC_DROPPED,
                topic=topic,
            )
    then, now = identity.contract, pipeline.contract
    if (then.format, then.fields) != (now.format, now.fields):
        raise RefusedError(
            f"The fields of {identity.pipeline} have changed: {then.described} then, {now.described} now. Files of both kinds would lie side by side. "
            f"Change them back, or `headrace reset {folder.root.name}`.",
            code=Code.FIELDS_CHANGED,
        )


def check_starting(pipeline: Pipeline) -> None:
    """Raise `UsageError` if a first stream would begin in the future.

    It would take what comes until then for what it was to leave out.
    """
    if pipeline.starting not in {"earliest", "latest"} and (
        moment := datetime.fromisoformat(pipeline.starting)
    ) > datetime.now(UTC):
        raise UsageError(
            f"{pipeline.path}: starting is {moment:%Y-%m-%d %H:%M:%S %Z}, which is in the future. A stream can't start there: use a moment in the past, or 'latest'.",
            code=Code.START_IN_FUTURE,
        )


def joined(identity: Identity, topics: TopicSnapshot) -> Identity:
    """The identity with topics and partitions that came after it was written.

    They are read from their first record.

    Raises `RefusedError` if such a partition has lost records already: Spark would refuse it after it has
    written its plan.
    """
    new = {place: earliest for place, earliest in topics.earliest.items() if place not in identity.start}
    for place, earliest in new.items():
        if earliest > 0:
            raise RefusedError(
                f"{place} is new to this pipeline and starts at offset {earliest}, not at 0: its first records have aged out. "
                f"To write that down and go on after them: {_accept(identity.pipeline)}",
                code=Code.OFFSETS_LOST,
                **place._asdict(),
                offset=0,
            )
    return Identity(
        pipeline=identity.pipeline,
        checkpoint=identity.checkpoint,
        topics=dict(topics.ids),
        start=identity.start | new,
        contract=identity.contract,
    )
