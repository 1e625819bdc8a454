"""Opening a pipeline's ledger for a stream, and the account a stream owes when it ends."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from headrace import documents
from headrace.contract.pipeline import Pipeline
from headrace.errors import (
    Code,
    LedgerError,
    OpenTransactionError,
    RefusedError,
    UnavailableError,
    UnsupportedLoginError,
)
from headrace.kafka.cluster import Cluster
from headrace.kafka.gaps import unexplained
from headrace.kafka.offsets import Offsets
from headrace.ledger import checkpoint, publish, recovery
from headrace.ledger.entries import Link, newest_link
from headrace.ledger.entry import EntryKind
from headrace.ledger.folder import Folder
from headrace.ledger.guard import (
    TopicSnapshot,
    check_checkpoint,
    check_pipeline,
    check_starting,
    check_topics,
    following,
    joined,
)
from headrace.ledger.identity import Identity, read_identity
from headrace.ledger.progress import LastRecord, read_verified, roll_back
from headrace.ledger.receipts import Receipt


def open_ledger(folder: Folder, pipeline: Pipeline, kafka: Cluster) -> Identity:
    """Check everything that must hold before a stream starts and leave the folder ready for it.

    The caller holds the lock.

    Raises `RefusedError` or `LedgerError` with what happened and the ways out.
    """
    identity, newest = read_identity(folder), newest_link(folder)
    if identity is not None:
        number, ends = newest.entry.number if newest else -1, following(identity, newest)
        identity = recovery.recover(folder, identity, number, ends)
        recovery.plan_again(folder.checkpoint, number, ends, pipeline.max_records_per_micro_batch)
        if newest and newest.entry.kind is not EntryKind.PUBLISHED:
            checkpoint.note_committed(folder.checkpoint, number)
    check_checkpoint(folder, identity, newest)
    wanted = [topic.name for topic in pipeline.topics]
    kafka.require_rights(wanted, "Read")
    topics = survey(kafka, wanted)
    if missing := [
        topic
        for topic in wanted
        if topic not in topics.ids and (identity is None or topic not in identity.topics)
    ]:
        raise RefusedError(
            f"Topic {', '.join(missing)} does not exist. The task create_topics makes it, as does `headrace topics create {pipeline.name}`.",
            code=Code.TOPIC_MISSING,
        )
    if identity is None:
        check_starting(pipeline)
        identity = Identity(
            pipeline=pipeline.name,
            checkpoint=None,
            topics=dict(topics.ids),
            start=starting_offsets(pipeline, kafka, topics),
            contract=pipeline.contract,
        )
    identity = _admitted(folder, pipeline, kafka, identity, newest, topics)
    roll_back(folder, newest)
    documents.write(folder.identity, identity)
    publish.prepare(folder, pipeline.contract, newest.entry.number if newest else -1)
    return identity


def check_can_start(folder: Folder, pipeline: Pipeline, kafka: Cluster) -> list[str]:
    """Check what would keep a stream from starting, and change nothing; returns what is worth a warning.

    Topics that do not exist are fine here, unless the ledger knows them. Raises as `open_ledger` does.
    """
    try:
        return list(_foresee(folder, pipeline, kafka))
    except (RefusedError, LedgerError):
        if folder.is_being_written():
            return [RUNNING]
        raise


RUNNING = "a stream is running, so the checkpoint and what was published were not looked at"


def _foresee(folder: Folder, pipeline: Pipeline, kafka: Cluster) -> Iterator[str]:
    kafka.require_rights(
        [topic.name for topic in pipeline.topics],
        "Read",
        "DescribeConfigs",
        *(["Write"] if pipeline.demo else []),
    )
    if folder.is_being_written():
        yield RUNNING
        return
    identity, newest = read_identity(folder), newest_link(folder)
    if identity is None:
        check_checkpoint(folder, identity, newest)
        check_starting(pipeline)
        return
    if recovery.needs_recovery(
        folder, identity, newest.entry.number if newest else -1, following(identity, newest)
    ):
        yield "a power cut, or a killed driver, left torn files in the checkpoint; the stream removes them, or refuses with the reason"
    else:
        check_checkpoint(folder, identity, newest)
    _admitted(
        folder, pipeline, kafka, identity, newest, survey(kafka, [topic.name for topic in pipeline.topics])
    )


def require_known_topics(folder: Folder, kafka: Cluster) -> None:
    """Raise `RefusedError` if a topic of the ledger is gone.

    One of that name that is created now would be another.
    """
    identity = read_identity(folder)
    if identity and (gone := sorted(identity.topics.keys() - kafka.describe(list(identity.topics)).keys())):
        raise RefusedError(
            f"Topic {', '.join(gone)} is gone from Kafka, and {folder.root} holds what was read from it. It is not created again, since its "
            f"offsets would start over. If this is another Kafka, name the right one; to start over: `headrace reset {folder.root.name}`.",
            code=Code.TOPIC_GONE,
        )


def _admitted(
    folder: Folder,
    pipeline: Pipeline,
    kafka: Cluster,
    identity: Identity,
    newest: Link | None,
    topics: TopicSnapshot,
) -> Identity:
    """The identity with what is new in the topics.

    Raises `RefusedError` unless pipeline file and topics fit what was published.
    """
    check_pipeline(folder, identity, pipeline)
    check_topics(folder, identity, newest, topics)
    ends = following(identity, newest)  # of records behind them the ledger no longer knows
    known = [last for last in read_verified(folder).last_records if last.offset < ends.get(last.place, 0)]
    if others := check_last_records(kafka, topics, known):
        raise RefusedError(
            f"{others[0].place}: offset {others[0].offset} holds a different record from the one that was verified there. Kafka lost the "
            "end of this partition, and new records took the offsets of published ones. What was published was not touched. "
            f"`headrace reset {folder.root.name}` moves what is published aside and starts over from what Kafka holds now.",
            code=Code.PARTITION_REFILLED,
            **others[0].place._asdict(),
            offset=others[0].offset,
        )
    return joined(identity, topics)


def survey(kafka: Cluster, topics: list[str]) -> TopicSnapshot:
    """What the broker says about the topics now."""
    found = kafka.describe(topics)
    compacted = [name for name, facts in found.items() if facts.is_compacted]
    # The whole end first: what arrives between the two questions would look as if a transaction hid it.
    last = kafka.end(found, committed=False)
    earliest, end = kafka.earliest(found), kafka.end(found)
    if gone := sorted(found.keys() - (last.topics & earliest.topics & end.topics)):
        raise UnavailableError(
            f"Topic {gone[0]} was deleted while it was looked at. Run this again.", code=Code.TOPIC_GONE
        )
    return TopicSnapshot({name: facts.id for name, facts in found.items()}, earliest, end, last, compacted)


def starting_offsets(pipeline: Pipeline, kafka: Cluster, topics: TopicSnapshot) -> Offsets:
    """Where a first stream begins, by the pipeline file's `starting`.

    Not before what is there, as an end for committed readers can be.
    """
    match pipeline.starting:
        case "earliest":
            offsets = topics.earliest
        case "latest":
            offsets = topics.end
        case moment:
            offsets = kafka.offsets_for_time(
                topics.ids, int(datetime.fromisoformat(moment).timestamp() * 1000)
            )
    return Offsets({place: max(offset, topics.earliest[place]) for place, offset in offsets.items()})


def offsets_waiting(folder: Folder, pipeline: Pipeline, kafka: Cluster) -> int:
    """How many offsets a stream that starts now has to read.

    Of a partition without a start in the ledger: all up to its end.
    """
    identity = read_identity(folder)
    read = following(identity, newest_link(folder)) if identity else Offsets()
    ends = kafka.end([topic.name for topic in pipeline.topics])
    return sum(max(end - read.get(place, 0), 0) for place, end in ends.items())


def check_receipts(folder: Folder, kafka: Cluster, owed: Sequence[Receipt]) -> None:
    """Raise `LedgerError` if a batch is not wholly within what is published.

    Raises `OpenTransactionError` where another try can help.

    A stream that ends well while records wait behind an open transaction would look as if nothing were
    missing.

    Args:
        owed: The receipts that were complete when the stream started.
    """
    identity = read_identity(folder)
    start = identity.start if identity else Offsets()
    until = following(identity, newest_link(folder)) if identity else Offsets()
    for receipt in owed:
        for landing in receipt.landings:
            if landing.lowest_offset < (first := start.get(landing.place, 0)):
                raise LedgerError(
                    f"Run {receipt.run} put records from offset {landing.lowest_offset} on into {landing.place}, and this pipeline reads it from {first} on "
                    "(`starting` in its file when it first ran). What lies before is never published.",
                    code=Code.BEFORE_START,
                    **landing.place._asdict(),
                    offset=landing.lowest_offset,
                )
            published = until.get(landing.place, 0)
            if landing.highest_offset >= published:
                committed, whole = (
                    kafka.end([landing.topic], committed=level).get(landing.place, 0)
                    for level in (True, False)
                )
                message = f"Run {receipt.run} put records up to offset {landing.highest_offset} into {landing.place}, and only those before {published} are published."
                if committed > landing.highest_offset:
                    raise OpenTransactionError(
                        f"{message} A transaction that was open when the stream was planned hid the rest; it has ended. Run this task again.",
                        code=Code.TRANSACTION_ENDED,
                        **landing.place._asdict(),
                        offset=published,
                    )
                if committed < whole:
                    raise OpenTransactionError(
                        f"{message} A transaction that is still open at offset {committed} hides everything behind it from readers of committed records. "
                        "When its producer commits, or the broker aborts it (after the producer's transaction.timeout.ms), run this task again.",
                        code=Code.TRANSACTION_OPEN,
                        **landing.place._asdict(),
                        offset=committed,
                    )
                raise LedgerError(
                    f"{message} Kafka does not hold the rest any more; `headrace verify {folder.root.name}` says what is missing.",
                    code=Code.BATCH_GONE,
                    **landing.place._asdict(),
                    offset=published,
                )


def check_last_records(
    kafka: Cluster, topics: TopicSnapshot, last_records: Sequence[LastRecord]
) -> list[LastRecord]:
    """The last records that verify has read and in whose place, if Kafka still has it, is another record now.

    A broker that lost its end (a power cut, an unclean election) and was filled again has records that no
    stream reads: their offsets were published before, for others. A place from which compaction has removed
    the record holds no other: what was verified stays proven.
    """
    return [last for last in last_records if _is_there(topics, last) and _is_another(kafka, last)]


def _is_there(topics: TopicSnapshot, last: LastRecord) -> bool:
    earliest, end = (offsets.get(last.place) for offsets in (topics.earliest, topics.end))
    return earliest is not None and end is not None and earliest <= last.offset < end


def _is_another(kafka: Cluster, last: LastRecord) -> bool:
    """Whether a place holds another record, or the marker or aborted record of a transaction."""
    found = _fingerprint_at(kafka, last)
    if found is not None:
        return found != last.fingerprint
    try:
        return not unexplained([last.range], lambda offset: kafka.record_batches(last.place, offset))
    except UnsupportedLoginError:
        return True


def _fingerprint_at(kafka: Cluster, last: LastRecord) -> str | None:
    """The fingerprint of the record that is in a place now.

    Nothing if there is none for a committed reader.
    """
    return next((LastRecord.of(block, 0).fingerprint for block in kafka.read(last.range)), None)
