r"""Watch what a pipeline keeps, as it arrives, until stopped. Publishes nothing and leaves no trace.

spark-submit spark_apps/console_stream.py --pipeline dags/important_messages.toml \
    --bootstrap-servers localhost:9092
"""

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from headrace.contract.pipeline import Pipeline
from headrace.contract.verdicts import Verdict
from headrace.kafka.client import Kafka
from headrace.kafka.offsets import Offsets
from headrace.text import visible
from spark_apps.judge import judge
from spark_apps.session import spark_session
from spark_apps.source import add_kafka_arguments, kafka_settings, kafka_stream

BACK = 1_000
"""How many offsets before the end of each partition it starts."""

MOST = 20_000
"""Offsets of a micro-batch, of all partitions together."""

ROWS = 20
"""Rows of a micro-batch that are shown."""


def main(arguments: Sequence[str]) -> None:
    """Print kept records, micro-batch after micro-batch."""
    parser = argparse.ArgumentParser(
        prog="console_stream.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pipeline", type=Path, required=True)
    add_kafka_arguments(parser)
    options = parser.parse_args(arguments)
    pipeline, kafka = Pipeline.load(options.pipeline), kafka_settings(options)
    start = recent(Kafka(kafka), [topic.name for topic in pipeline.topics])

    spark = spark_session(f"watch {pipeline.name}", sum(topic.partitions for topic in pipeline.topics))
    # PySpark's handler asks a JVM that is ending too, and prints what it does not answer.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    judged = judge(kafka_stream(spark, pipeline, kafka, start, MOST), pipeline.contract)
    kept = judged.where(F.col("_verdict") == Verdict.KEPT).select(
        "_topic", "_partition", "_offset", *pipeline.contract.columns
    )
    kept.writeStream.foreachBatch(show).start().awaitTermination()


def show(rows: DataFrame, _: int) -> None:
    """Print the first rows of a micro-batch, one line each, as wide as the terminal."""
    # As text by Spark: timestamps in the session's time zone, which is UTC.
    found = rows.select(*(F.col(name).cast("string") for name in rows.columns)).limit(ROWS + 1).collect()
    for row in found[:ROWS]:
        print(line(row.asDict()), flush=True)
    if len(found) > ROWS:
        print("… and more in this micro-batch", flush=True)


def line(row: dict[str, str | None]) -> str:
    """Where a record lies, and its columns: `orders-0 12  order_id=1 amount=3.5`.

    A single column goes without its name.
    """
    place = f"{row.pop('_topic')}-{row.pop('_partition')} {row.pop('_offset')}"
    shown = {name: "NULL" if value is None else value for name, value in row.items()}
    values = [f"{name}={value}" for name, value in shown.items()] if len(shown) > 1 else shown.values()
    text = visible(f"{place}  {' '.join(values)}")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(text)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def recent(kafka: Kafka, topics: Sequence[str]) -> Offsets:
    """Where the last of the records begin that are there already."""
    end = kafka.end(topics)
    return Offsets(
        {place: max(earliest, end[place] - BACK) for place, earliest in kafka.earliest(topics).items()}
    )


if __name__ == "__main__":
    main(sys.argv[1:])
