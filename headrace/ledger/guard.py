"""What must hold before a stream may start.

It must be checked before: Spark writes its offset log first and fails then, and the checkpoint is stuck for good.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace.contract.pipeline import Pipeline
from headrace.errors import LedgerError, RefusedError
from headrace.ledger.entries import Entry, positions
from headrace.ledger.folder import Folder
from headrace.ledger.identity import Identity, checkpoint_id, logged, planned_until
from headrace.ledger.ranges import Positions, flat


@dataclass(frozen=True)
class Cluster:
    """What the broker says about the pipeline's topics now; a topic that does not exist is absent."""

    topics: Mapping[str, str]
    """Name → id."""
    earliest: Positions
    end: Positions
    compacted: Sequence[str] = ()
    """Topics from which Kafka removes records by their keys."""


def check_checkpoint(folder: Folder, identity: Identity | None, ledger: Sequence[Entry]) -> None:
    """Raise `RefusedError` or `LedgerError` unless checkpoint, identity and ledger belong together."""
    found = checkpoint_id(folder.checkpoint)
    reset = f"`headrace reset {folder.root.name}` moves everything aside and starts over."
    if identity is None:
        if found or ledger:
            raise RefusedError(
                f"{folder.root} holds {'a checkpoint' if found else 'entries'} but no identity.json. Put it back, or {reset}"
            )
        return
    if identity.checkpoint is not None and identity.checkpoint != found:
        raise RefusedError(
            f"The ledger in {folder.root} belongs to checkpoint {identity.checkpoint}, but there is {found or 'none'}. "
            f"A stream that starts over would publish records twice or not at all. Put the checkpoint back, or {reset}"
        )
    if ledger and identity.checkpoint is None:
        raise RefusedError(f"{folder.root} holds entries, but identity.json names no checkpoint. Put back the right one, or {reset}")
    try:
        ledger_ends = positions(identity.start, ledger)
    except ValueError as error:
        raise LedgerError(f"The ledger in {folder.root} is broken: {error}. Put back what was removed, or {reset}") from error
    committed, planned = logged(folder.checkpoint, "commits"), logged(folder.checkpoint, "offsets")
    last_entry = ledger[-1].micro_batch if ledger else -1
    last_commit, last_plan = (log[-1] if log else -1 for log in (committed, planned))
    if not last_commit <= last_entry <= last_plan or last_plan > last_entry + 1:
        raise LedgerError(
            f"Checkpoint and ledger disagree in {folder.root}: the last entry is micro-batch {last_entry}, the checkpoint has planned "
            f"{last_plan} and committed {last_commit}. One of them was rolled back or edited. Put both back from one point in time, or {reset}"
        )
    if foreign := [entry.micro_batch for entry in ledger if entry.checkpoint != identity.checkpoint]:
        raise LedgerError(
            f"The entry of micro-batch {foreign[0]} in {folder.root} belongs to another checkpoint. Put back the right one, or {reset}"
        )
    if last_entry >= 0 and (plan := planned_until(folder.checkpoint, last_entry, identity.start)) != ledger_ends:
        raise LedgerError(
            f"Checkpoint and ledger disagree in {folder.root}: micro-batch {last_entry} ends at {plan} there and at {ledger_ends} here. {reset}"
        )


def check_cluster(folder: Folder, identity: Identity, ledger: Sequence[Entry], cluster: Cluster) -> None:
    """Raise `RefusedError` unless the topics are those that were read so far and the next offsets are still there."""
    reset = f"`headrace reset {folder.root.name}` moves data and checkpoint aside and starts over."
    if cluster.compacted:
        raise RefusedError(
            f"Topic {', '.join(cluster.compacted)} is compacted (cleanup.policy): Kafka removes records from it by their keys, so they can't be "
            "accounted for. Set its cleanup.policy to delete; what it has removed by then looks like a gap, so start behind that (`starting`, after a reset), "
            "or with a new topic."
        )
    following = positions(identity.start, ledger)
    for _, _, what in unlike(identity, following, cluster):
        raise RefusedError(f"{what}. What was published stays as it is. To go on with what Kafka holds now: {reset}")
    for topic, partition, offset in flat(following):
        if (earliest := cluster.earliest[topic][partition]) > offset:
            raise RefusedError(
                f"{topic}-{partition}: offsets {offset} to {earliest - 1} were never published and have aged out of Kafka. They are lost. "
                f"Lengthen the topic's retention. To go on from what is there: {reset}"
            )


def unlike(identity: Identity, following: Positions, cluster: Cluster) -> Iterator[tuple[str, int | None, str]]:
    """Where the topics are not those any more of which the ledger tells: topic, partition if it is about one, and what is wrong.

    following  the first offset after all that is published, per topic and partition
    """
    for topic, known in identity.topics.items():
        found = cluster.topics.get(topic)
        if found is None:
            yield topic, None, f"Topic {topic} is gone from Kafka"
        elif found != known:
            what = f"Topic {topic} was deleted and made anew (id {known} then, {found} now): its offsets start over and mean other records"
            yield topic, None, what
        else:
            for partition, offset in following.get(topic, {}).items():
                end = cluster.end[topic].get(partition)
                if end is None:
                    yield topic, partition, f"{topic}-{partition} was read so far and is gone from Kafka"
                elif end < offset:
                    what = f"{topic}-{partition}: the next offset is {offset} but the topic ends at {end}: records were removed from Kafka"
                    yield topic, partition, what


def check_pipeline(folder: Folder, identity: Identity, pipeline: Pipeline) -> None:
    """Raise `RefusedError` if the pipeline file has other fields than the files that are there, or has lost a topic. Another filter is fine."""
    for topic in identity.topics:
        if topic not in {each.name for each in pipeline.topics}:
            raise RefusedError(
                f"Topic {topic} was read so far and is not in the pipeline file any more. Put it back, or `headrace reset {folder.root.name}` "
                "moves data and checkpoint aside and starts over."
            )
    then, now = identity.contract, pipeline.contract
    if (then.format, then.fields) != (now.format, now.fields):
        raise RefusedError(
            f"The fields of {identity.pipeline} have changed: {then.described} then, {now.described} now. Files of both kinds would lie side by side. "
            f"Change them back, or `headrace reset {folder.root.name}`."
        )


def joined(identity: Identity, cluster: Cluster) -> Identity:
    """The identity with topics and partitions that came after it was written; they are read from their first record.

    Raises `RefusedError` if such a partition has lost records already: Spark would refuse it after it has written its plan.
    """
    start = {topic: dict(partitions) for topic, partitions in identity.start.items()}
    for topic, partition, earliest in flat(cluster.earliest):
        if partition not in start.setdefault(topic, {}):
            if earliest > 0:
                raise RefusedError(
                    f"{topic}-{partition} is new to this pipeline and starts at offset {earliest}, not at 0: its first records have aged out. "
                    f"A new partition must be complete. Read it with a pipeline of its own, or `headrace reset {identity.pipeline}`."
                )
            start[topic][partition] = 0
    return Identity(
        pipeline=identity.pipeline,
        checkpoint=identity.checkpoint,
        topics=dict(cluster.topics),
        start=start,
        contract=identity.contract,
    )
