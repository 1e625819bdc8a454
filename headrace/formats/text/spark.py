"""Spark's side of text."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from headrace.contract.verdicts import Field, Reason


def decode(records: DataFrame, _: tuple[Field, ...], *, reasons_only: bool = False) -> DataFrame:
    """Add the one column, unless only reasons are wanted, and `_reason` and `_field`. Reads `_value`."""
    text = F.col("_value").cast("string")
    reason = F.when(F.col("_value").isNull(), str(Reason.NULL_VALUE)).when(
        ~F.is_valid_utf8(text), str(Reason.NOT_UTF8)
    )
    found = {"_reason": reason, "_field": F.lit(None).cast("string")}
    return records.withColumns(found if reasons_only else {"value": text, **found})
