"""One bounded batch of demo records, resumable, with a receipt.

Before the first send the receipt is stored as open. A try that resumes it reads back which records landed and
sends the rest; a complete receipt is returned as it is. An idempotent producer alone covers no retry of a
task.
"""

import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec
from confluent_kafka import KafkaException, Producer

from headrace import documents
from headrace.contract.pipeline import Demo, Pipeline
from headrace.errors import BrokerError, Code, DeliveryError, UsageError
from headrace.kafka.client import Kafka
from headrace.kafka.offsets import Offsets, between
from headrace.ledger.folder import Folder
from headrace.ledger.receipts import (
    DIGEST_MODULUS,
    Landing,
    Receipt,
    ReceiptState,
    fingerprint,
    key,
    key_prefix,
    receipt_of,
    sequence_of,
)
from headrace.ledger.verified_receipts import has_expired
from producers.acknowledgements import Acknowledgements
from producers.samples import payload

SETTINGS = {
    "enable.idempotence": True,
    "linger.ms": 20,
    "compression.type": "lz4",
    "partitioner": "murmur2_random",  # as Java producers do, so that a key lies in the same partition for every sender
    "message.timeout.ms": 60_000,
    "queue.buffering.max.kbytes": 128 << 10,
}
POLL_EVERY = 1_000
LOCK_TIMEOUT = 120.0
"""Seconds to wait for a producer of the same pipeline to end: an earlier try that Airflow gave up on may live
on."""


def produce_batch(
    pipeline: Pipeline,
    folder: Folder,
    kafka: Mapping[str, str],
    run: str,
    *,
    records: int | None = None,
    malformed: float | None = None,
    seed: int | None = None,
) -> Receipt | None:
    """Produce a run's batch, or what is missing of it, and return its complete receipt.

    `None` if it was verified and has expired since.

    `None` stands for the pipeline file's number, or a seed drawn at random. A receipt that is there decides
    over all three. Raises `BrokerError` where another try can complete the batch, `DeliveryError` where it
    can't.
    """
    if pipeline.demo is None:
        raise UsageError(
            f"{pipeline.path}: there is no [demo] section, so there is no batch to produce.",
            code=Code.NO_DEMO,
        )
    with folder.locked(f"the producer of run {run}", lock=Folder.PRODUCER_LOCK, timeout=LOCK_TIMEOUT):
        return _produce(
            pipeline,
            pipeline.demo,
            folder,
            Kafka(kafka),
            run,
            records=records,
            malformed=malformed,
            seed=seed,
        )


def _produce(
    pipeline: Pipeline,
    demo: Demo,
    folder: Folder,
    cluster: Kafka,
    run: str,
    *,
    records: int | None,
    malformed: float | None,
    seed: int | None,
) -> Receipt | None:
    acknowledgements = Acknowledgements()
    topics = [topic.name for topic in pipeline.topics]
    path = folder.unverified_receipt(run)
    known = receipt_of(folder, run)
    if known and known.state == ReceiptState.COMPLETE:
        return known
    if known is None and has_expired(folder, run):
        return None
    cluster.require_rights(topics, "Write")
    if known:
        receipt = known
        landed, digest = read_back(cluster, receipt, topics, acknowledgements)
    else:
        landed, digest = None, 0
        receipt = Receipt(
            pipeline=pipeline.name,
            run=run,
            state=ReceiptState.OPEN,
            seed=secrets.randbits(32) if seed is None else seed,
            records=demo.records if records is None else records,
            malformed=demo.malformed if malformed is None else malformed,
            opened_at=datetime.now(UTC),
            start=_ends(cluster, topics),
        )
        documents.write(path, receipt)

    digest += send(
        pipeline, demo, receipt, Producer({**cluster.config, **SETTINGS}), acknowledgements, landed
    )
    if acknowledgements.count != receipt.records:
        raise _undelivered(receipt, acknowledgements, cluster.servers)
    receipt = msgspec.structs.replace(
        receipt,
        state=ReceiptState.COMPLETE,
        completed_at=datetime.now(UTC),
        landings=[Landing.of(*landed) for landed in acknowledgements.landings],
        digest=f"{digest % DIGEST_MODULUS:032x}",
    )
    documents.write(path, receipt)
    return receipt


def read_back(
    kafka: Kafka, receipt: Receipt, topics: Iterable[str], acknowledgements: Acknowledgements
) -> tuple[bytearray, int]:
    """Which records of an open receipt landed (1 at their sequence number), and their part of the digest.

    Args:
        topics: Of the pipeline now: one that joined since the batch was begun may hold records of an earlier
            try.

    Reads uncommitted: the batch is no transaction, and another transaction that is still open would hide what
    landed behind it.
    """
    prefix = key_prefix(receipt.pipeline, receipt.run)
    landed, digest = bytearray(receipt.records), 0
    end = _ends(kafka, {*receipt.start.topics, *topics})
    start = Offsets(dict.fromkeys(end, 0)) | receipt.start
    try:
        ranges = between(start, end)
    except ValueError as error:
        raise DeliveryError(
            f"Run {receipt.run} can't be resumed: a topic was deleted and created again since it began ({error}). Start a new run."
        ) from error
    for offset_range in ranges:
        for block in kafka.read(offset_range, committed=False):
            for offset, record_key, value in zip(block.offsets, block.keys, block.values, strict=True):
                parts = sequence_of(record_key)
                if record_key and parts and parts[0] == prefix and parts[1] < receipt.records:
                    if landed[parts[1]]:
                        raise DeliveryError(
                            f"Run {receipt.run} can't be completed: its record {parts[1]} is in Kafka twice, the second time at "
                            f"{block.place}, offset {offset}. It was sent by an earlier try after this one had looked. Start a new run.",
                            code=Code.BATCH_DOUBLED,
                            **block.place._asdict(),
                            offset=offset,
                        )
                    acknowledgements.add(block.place, offset)
                    landed[parts[1]] = True
                    digest += fingerprint(record_key, value)
    return landed, digest


def _ends(kafka: Kafka, topics: Iterable[str]) -> Offsets:
    """Where the topics end.

    Raises `BrokerError` if one of them is not known: what of a batch lies in it would be unknown.
    """
    ends = kafka.end(topics, committed=False)
    if missing := sorted(set(topics) - ends.topics):
        raise BrokerError(
            f"Kafka at {kafka.servers} does not know {', '.join(missing)}. The task create_topics makes what the pipeline file names.",
            code=Code.TOPIC_MISSING,
        )
    return ends


def send(
    pipeline: Pipeline,
    demo: Demo,
    receipt: Receipt,
    producer: Producer,
    acknowledgements: Acknowledgements,
    landed: bytearray | None,
) -> int:
    """Send every record of the batch that has not landed; returns their part of the digest."""
    prefix = key_prefix(receipt.pipeline, receipt.run)
    digest = 0
    for sequence in range(receipt.records):
        if landed and landed[sequence]:
            continue
        record_key = key(prefix, sequence)
        value = payload(
            pipeline, demo, receipt.seed, sequence, receipt.malformed, large=sequence == receipt.records // 2
        )
        digest += fingerprint(record_key, value)
        topic = pipeline.topics[sequence % len(pipeline.topics)].name
        while True:
            try:
                producer.produce(topic, value, record_key, on_delivery=acknowledgements.delivered)
                break
            except BufferError:
                producer.poll(0.1)
            except KafkaException as error:
                raise DeliveryError(
                    f"{topic}: record {sequence} of run {receipt.run} was not taken: {error.args[0].str()}"
                ) from error
        if sequence % POLL_EVERY == 0:
            producer.poll(0)
            if acknowledgements.refusals:
                break
    producer.flush()
    return digest


def _undelivered(
    receipt: Receipt, acknowledgements: Acknowledgements, servers: str
) -> BrokerError | DeliveryError:
    reasons = (
        "; ".join(f"{count:,} × {reason}" for reason, count in acknowledgements.refusals.most_common(5))
        or "no delivery report came"
    )
    message = f"Run {receipt.run}: {acknowledgements.count:,} of {receipt.records:,} records were acknowledged. {reasons}."
    if acknowledgements.terminal or acknowledgements.count > receipt.records:
        return DeliveryError(message)
    silence = (
        f"Kafka at {servers} did not answer within {acknowledgements.waited:.0f} s. "
        if acknowledgements.waited
        else ""
    )
    return BrokerError(f"{silence}{message} Another try sends the rest.")
