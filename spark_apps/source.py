"""Kafka as a Spark source."""

import json
from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession

from headrace.contract.pipeline import Pipeline
from headrace.ledger.ranges import Positions

OPTIONS = {
    "kafka.isolation.level": "read_committed",
    "failOnDataLoss": "true",
    "includeHeaders": "true",
    # Larger fetches than the defaults: a third more records per second on one machine.
    "kafka.max.poll.records": "20000",
    "kafka.max.partition.fetch.bytes": str(16 << 20),
    "kafka.fetch.max.bytes": str(64 << 20),
    "kafka.receive.buffer.bytes": str(4 << 20),
    # A fetch that finds nothing new otherwise waits this long, once for each partition.
    "kafka.fetch.max.wait.ms": "20",
}


def kafka_stream(spark: SparkSession, pipeline: Pipeline, kafka: Mapping[str, str], start: Positions) -> DataFrame:
    """The pipeline's topics as a stream of Kafka's columns. `start` counts for a new checkpoint only."""
    return (
        spark.readStream.format("kafka")
        .options(**OPTIONS, **{f"kafka.{key}": value for key, value in kafka.items()})
        .option("subscribe", ",".join(topic.name for topic in pipeline.topics))
        .option("startingOffsets", json.dumps(start))
        .option("maxOffsetsPerTrigger", pipeline.max_records_per_micro_batch)
        .load()
    )
