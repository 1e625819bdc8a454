"""What the archive of Spark's classes is made from: a pipeline's stream, then a few JSON records.

    spark-submit spark_apps/archived.py --pipeline … (as for filter_stream.py)

The stack's first pipeline reads text. JSON takes Arrow and Python's workers, whose classes belong into the
archive, too; no topic may have such records yet, so these come from memory.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from pyspark.sql import SparkSession

from headrace.contract.types import TYPES
from headrace.contract.verdicts import Contract, Field
from headrace.kafka.offsets import OffsetRange
from headrace.ledger.publish import Staging
from spark_apps import filter_stream
from spark_apps.publisher import write

KAFKA = "key binary, value binary, topic string, partition int, offset bigint, timestamp timestamp, headers array<struct<key:string,value:binary>>"
"""The columns of Spark's Kafka source."""
CONTRACT = Contract(
    format="json", fields=tuple(Field(str(kind), kind) for kind in TYPES.values()), filter="bigint > 0"
)
USABLE = 100


def write_json(spark: SparkSession, folder: Path) -> None:
    """Judge and write records of all types, and one that is unusable."""
    usable = [
        msgspec.json.encode({str(kind): kind.sample_value(number) for kind in TYPES.values()})
        for number in range(USABLE)
    ]
    at = datetime.now(UTC)
    rows = [(b"key", value, "topic", 0, offset, at, None) for offset, value in enumerate([*usable, b"{"])]
    write(
        spark.createDataFrame(rows, KAFKA),
        CONTRACT,
        [OffsetRange("topic", 0, 0, len(rows))],
        Staging(folder / "json"),
        [],
    )


if __name__ == "__main__":
    filter_stream.main(sys.argv[1:])
    if session := SparkSession.getActiveSession():
        write_json(session, filter_stream.parse(sys.argv[1:]).data)
