"""How far Spark is with a micro-batch."""

from collections.abc import Sequence

from pyspark.sql import SparkSession

from headrace.ledger.ranges import OffsetRange
from headrace.report.display import plural

PLACES = 3
"""Partitions that a line names."""


def reading(micro_batch: int, ranges: Sequence[OffsetRange], read: int) -> str:
    """From where to where, and how much of it the pass over the records that runs now has read."""
    places = [f"{each.topic}-{each.partition} {each.from_offset} to {each.until_offset}" for each in ranges[:PLACES]]
    if len(ranges) > PLACES:
        places.append(plural(len(ranges) - PLACES, "more partition"))
    return f"micro-batch {micro_batch}: {read:,} of {sum(map(len, ranges)):,} offsets read so far; {', '.join(places)}"


def records_read(spark: SparkSession) -> int:
    """How many records the tasks that run now have read, as of their last heartbeat (every 10 s)."""
    stages = spark.sparkContext._jsc.sc().statusStore().activeStages()  # noqa: SLF001, Spark tells its own UI only
    return sum(stages.apply(i).inputRecords() for i in range(stages.size()))
