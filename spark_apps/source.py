"""Kafka as a Spark source."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from headrace.contract.pipeline import Pipeline
from headrace.kafka.offsets import Offsets
from headrace.settings import read_kafka_config
from spark_apps.java_client import java_client

OPTIONS = {
    "kafka.isolation.level": "read_committed",
    "failOnDataLoss": "true",
    "includeHeaders": "true",
    # Larger fetches than the defaults: a third more records per second on one machine.
    "kafka.max.partition.fetch.bytes": str(16 << 20),
    "kafka.fetch.max.bytes": str(64 << 20),
    "kafka.receive.buffer.bytes": str(4 << 20),
    # More is not faster, and each partition's consumer keeps its last poll in memory.
    "kafka.max.poll.records": "2000",
    # A fetch that finds nothing new otherwise waits this long, once for each partition.
    "kafka.fetch.max.wait.ms": "20",
}


def add_kafka_arguments(parser: argparse.ArgumentParser) -> None:
    """Let the user say how to reach Kafka.

    By an address, or by a file, since credentials do not belong on a command line.
    """
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("--bootstrap-servers", help="Kafka, as host:port[,host:port]")
    either.add_argument(
        "--kafka",
        type=Path,
        help="a JSON file with Kafka's settings in librdkafka's words, credentials included",
    )


def kafka_settings(options: argparse.Namespace) -> dict[str, str]:
    """Return what the user said. Raises `UsageError` for a file that cannot be used."""
    return (
        read_kafka_config(options.kafka)
        if options.kafka
        else {"bootstrap.servers": options.bootstrap_servers}
    )


def kafka_stream(
    spark: SparkSession, pipeline: Pipeline, kafka: Mapping[str, str], start: Offsets, most: int
) -> DataFrame:
    """The pipeline's topics as a stream of Kafka's columns, with `most` offsets in a micro-batch at most.

    `start` counts for a new checkpoint only; `kafka` is in librdkafka's words.
    """
    return (
        spark.readStream.format("kafka")
        .options(**OPTIONS, **{f"kafka.{key}": value for key, value in java_client(kafka).items()})
        .option("subscribe", ",".join(topic.name for topic in pipeline.topics))
        .option("startingOffsets", json.dumps(start.by_topic()))
        .option("maxOffsetsPerTrigger", most)
        .option("groupIdPrefix", kafka.get("group.id", "headrace-stream"))
        .load()
    )
