"""Spark's side of text."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from headrace.contract.verdicts import Field


def decode(records: DataFrame, _: tuple[Field, ...], unreadable: Column) -> DataFrame:
    """Add the one column, `_reason` (which is `unreadable`) and `_field`. Reads `_text`."""
    return records.withColumns(
        {"value": F.col("_text"), "_reason": unreadable, "_field": F.lit(None).cast("string")}
    )
