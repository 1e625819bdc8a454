"""How far Spark is with a micro-batch."""

from collections.abc import Sequence

from pyspark.sql import SparkSession

from headrace.kafka.offsets import OffsetRange
from headrace.text import plural

PLACES = 3
"""Partitions that a line names."""


class Reading:
    """Says how far Spark is, and whether it has come further since it was asked before."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, micro_batch: int, ranges: Sequence[OffsetRange], read: int) -> str:
        """From where to where a micro-batch reads, and how much has been counted."""
        now = reading(micro_batch, ranges, read)
        is_same, self._last = now == self._last, now
        return (
            f"{now}; no change since the last line. `headrace status` checks whether the broker answers"
            if is_same
            else now
        )


def reading(micro_batch: int, ranges: Sequence[OffsetRange], read: int) -> str:
    """From where to where a micro-batch reads, and how much has been counted."""
    places = [f"{each.place} {each.from_offset} to {each.until_offset - 1}" for each in ranges[:PLACES]]
    if len(ranges) > PLACES:
        places.append(plural(len(ranges) - PLACES, "more partition"))
    so_far = f"; at least {plural(read, 'record')} read so far" if read else ""
    return f"micro-batch {micro_batch}: reading {plural(sum(map(len, ranges)), 'offset')} ({', '.join(places)}){so_far}"


def records_read(spark: SparkSession) -> int:
    """How many records the stages that run now have read.

    In local mode Spark counts those of a task when it ends, in a cluster every 10 s.
    """
    stages = spark.sparkContext._jsc.sc().statusStore().activeStages()  # noqa: SLF001, there is no public way
    return sum(int(stages.apply(i).inputRecords()) for i in range(stages.size()))
