"""Sample messages, one after the other, until stopped: something to watch arrive."""

import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping

from confluent_kafka import KafkaError, Message, Producer

from headrace.contract.pipeline import Pipeline
from headrace.errors import BrokerError, UsageError
from headrace.kafka.client import Kafka
from headrace.kafka.connection import UNANSWERED
from producers.samples import payload


def produce_continuously(
    pipeline: Pipeline,
    kafka: Mapping[str, str],
    every: float,
    sleep: Callable[[float], None] = time.sleep,
    chance: random.Random | None = None,
) -> Iterator[str]:
    """Send one demo record every `every` seconds.

    Whether it can is checked at once. Yields what the broker acknowledged: place and value, as text.

    Raises `BrokerError` for a record that the broker did not take.
    """
    if pipeline.demo is None:
        raise UsageError(f"{pipeline.path}: there is no [demo] section, so there are no sample messages.")
    cluster = Kafka(kafka)
    cluster.check_listeners()
    cluster.require_rights([topic.name for topic in pipeline.topics], "Write")
    producer = Producer({"enable.idempotence": True, "log_level": 0, "message.timeout.ms": 10_000, **kafka})
    seed = (chance or random.Random()).getrandbits(32)  # noqa: S311, sample data
    acknowledged: list[str] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None and error.code() in UNANSWERED:
            raise BrokerError(
                f"{message.topic()}: Kafka at {cluster.servers} did not answer within {message.latency() or 0.0:.0f} s."
            )
        if error is not None:
            raise BrokerError(f"{message.topic()}: a record was not taken: {error.str()}")
        acknowledged.append(
            f"{message.topic()}-{message.partition()} offset {message.offset()}: {(message.value() or b'').decode(errors='replace')}"
        )

    demo = pipeline.demo

    def send() -> Iterator[str]:
        for number in itertools.count():
            topic = pipeline.topics[number % len(pipeline.topics)].name
            producer.produce(topic, payload(pipeline, demo, seed, number), on_delivery=delivered)
            producer.flush()
            yield acknowledged.pop()
            sleep(every)

    return send()
