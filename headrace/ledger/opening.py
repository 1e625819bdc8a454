"""Opening a pipeline's ledger for a stream, and the account a stream owes when it ends."""

from datetime import datetime

from headrace import documents
from headrace.contract.pipeline import Pipeline
from headrace.errors import HiddenError, LedgerError, RefusedError
from headrace.kafka import Kafka
from headrace.ledger import publish
from headrace.ledger.entries import entries, positions
from headrace.ledger.folder import Folder
from headrace.ledger.guard import Cluster, check_checkpoint, check_cluster, check_contract, joined
from headrace.ledger.identity import Identity, Streamed, read_identity
from headrace.ledger.ranges import Positions
from headrace.ledger.receipts import Receipt, ReceiptState, receipts


def open_ledger(folder: Folder, pipeline: Pipeline, kafka: Kafka) -> Identity:
    """Check everything that must hold before a stream starts and leave the folder ready for it. The caller holds the lock.

    Raises `RefusedError` or `LedgerError` with what happened and the ways out.
    """
    identity, ledger = read_identity(folder), entries(folder)
    check_checkpoint(folder, identity, ledger)
    wanted = [topic.name for topic in pipeline.topics]
    cluster = survey(kafka, wanted)
    if missing := [topic for topic in wanted if topic not in cluster.topics and (identity is None or topic not in identity.topics)]:
        raise RefusedError(
            f"Topic {', '.join(missing)} does not exist. The task create_topics makes it, as does `headrace topics create {pipeline.name}`."
        )
    if identity is None:
        identity = Identity(
            pipeline=pipeline.name,
            checkpoint=None,
            topics=dict(cluster.topics),
            start=_start(pipeline, kafka, cluster),
            contract=pipeline.contract,
        )
    check_contract(folder, identity, pipeline.contract)
    check_cluster(folder, identity, ledger, wanted, cluster)
    identity = joined(identity, cluster)
    documents.write(folder.identity, identity)
    publish.prepare(folder, pipeline.contract, ledger)
    return identity


def survey(kafka: Kafka, topics: list[str]) -> Cluster:
    """What the broker says about the topics now."""
    found = kafka.describe(topics)
    compacted = [name for name, facts in found.items() if facts.is_compacted]
    return Cluster({name: facts.id for name, facts in found.items()}, kafka.earliest(found), kafka.end(found), compacted)


def _start(pipeline: Pipeline, kafka: Kafka, cluster: Cluster) -> Positions:
    match pipeline.starting:
        case "earliest":
            return cluster.earliest
        case "latest":
            return cluster.end
        case moment:
            return kafka.at(cluster.topics, int(datetime.fromisoformat(moment).timestamp() * 1000))


def check_receipts(folder: Folder, kafka: Kafka, started_at: datetime) -> None:
    """Raise `LedgerError` (`HiddenError` where waiting can help) if a batch that was complete when the stream started is not wholly within what is published.

    A stream that ends well while records wait behind an open transaction would look as if nothing were missing.
    """
    identity = read_identity(folder)
    since = documents.read(folder.streamed, Streamed).started_at if folder.streamed.exists() else None
    start = identity.start if identity else {}
    until = positions(start, entries(folder))
    for receipt in receipts(folder):
        if is_due(receipt, started_at) and not is_due(receipt, since):
            for landing in receipt.landings:
                place = f"{landing.topic}-{landing.partition}"
                if landing.lowest_offset < (first := start.get(landing.topic, {}).get(landing.partition, 0)):
                    raise LedgerError(
                        f"Run {receipt.run} put records from offset {landing.lowest_offset} on into {place}, and this pipeline reads it from {first} on "
                        "(`starting` in its file when it first ran). What lies before is never published."
                    )
                published = until.get(landing.topic, {}).get(landing.partition, 0)
                if landing.highest_offset >= published:
                    committed = kafka.end([landing.topic])[landing.topic][landing.partition]
                    whole = kafka.end([landing.topic], committed=False)[landing.topic][landing.partition]
                    message = f"Run {receipt.run} put records up to offset {landing.highest_offset} into {place}, and only those before {published} are published."
                    if committed < whole:
                        raise HiddenError(
                            f"{message} A transaction that is still open at offset {committed} hides everything behind it from committed readers. "
                            "When its producer commits, or the broker aborts it (transaction.max.timeout.ms), run this task again."
                        )
                    raise LedgerError(f"{message} Run this task again; if it stays so, `headrace verify` says what is missing.")


def is_due(receipt: Receipt, streamed_from: datetime | None) -> bool:
    """Whether a stream that began at a moment had the whole batch before it."""
    return receipt.state == ReceiptState.COMPLETE and bool(receipt.completed_at and streamed_from and receipt.completed_at < streamed_from)
