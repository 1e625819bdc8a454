"""Gives every record its verdict, by expressions alone.

No UDF, and nothing that can raise under ANSI, whatever the bytes are.

The rule is written in `docs/contract.md`; the second engine obeys the same text with other code.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from headrace.contract.filter import Filter
from headrace.contract.formats import of_spark
from headrace.contract.verdicts import Contract, Reason, Verdict

POSITION = ("_topic", "_partition", "_offset", "_timestamp", "_key")
"""Columns that say where a record stood in Kafka."""


def judge(records: DataFrame, contract: Contract) -> DataFrame:
    """Give every record of Kafka's source its verdict.

    Gives `_topic, _partition, _offset, _timestamp, _key`, the declared columns (null if the record is
    unusable), `_value`, `_headers`, `_reason` (string, one of `Reason`; null if usable), `_field` (the
    declared field that the reason is about, null if it is about none) and `_verdict` (string, one of
    `Verdict`).
    """
    raw = (*POSITION, "_value", "_headers")
    # Kafka's columns under names that no field can have.
    named = records.select(*(F.col(name.removeprefix("_")).alias(name) for name in raw)).withColumns(
        {
            "_text": F.col("_value").cast("string"),
            "_timestamp": F.when(F.unix_micros("_timestamp") >= 0, F.col("_timestamp")),
        }
    )
    unreadable = F.when(F.col("_value").isNull(), str(Reason.NULL_VALUE)).when(
        ~F.is_valid_utf8("_text"), str(Reason.NOT_UTF8)
    )
    decoded: DataFrame = of_spark(contract.format).decode(named, contract.fields, unreadable)

    usable = F.col("_reason").isNull()
    columns = [F.when(usable, F.col(name)).alias(name) for name in contract.columns]
    wanted = F.expr(Filter.parse(contract.filter, contract.fields).spark_sql)
    verdict = (
        F.when(~usable, str(Verdict.QUARANTINED))
        .when(wanted, str(Verdict.KEPT))
        .otherwise(str(Verdict.FILTERED))
    )
    return decoded.select(
        *POSITION, *columns, "_value", "_headers", "_reason", "_field", verdict.alias("_verdict")
    )
