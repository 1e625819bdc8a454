"""Gives every record its verdict: the format decodes it, the contract's filter decides.

Nothing in here can raise under ANSI, whatever the bytes are.

The rule is written in `docs/contract.md`; the second engine obeys the same text with other code.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from headrace.contract.filter import Filter
from headrace.contract.formats import of_spark
from headrace.contract.verdicts import Contract, Verdict

POSITION = ("_topic", "_partition", "_offset", "_timestamp", "_key")
"""Columns that say where a record stood in Kafka."""
RAW = ("_value", "_headers")
"""What the quarantine keeps besides."""


def judge(records: DataFrame, contract: Contract) -> DataFrame:
    """Give every record of Kafka's source its verdict.

    Gives `_topic, _partition, _offset, _timestamp, _key`, the declared columns (null if the record is
    unusable), `_reason` (string, one of `Reason`; null if usable), `_field` (the declared field that the
    reason is about, null if it is about none) and `_verdict` (string, one of `Verdict`).
    """
    decoded: DataFrame = of_spark(contract.format).decode(_named(records), contract.fields)

    usable = F.col("_reason").isNull()
    columns = [F.when(usable, F.col(name)).alias(name) for name in contract.columns]
    wanted = F.expr(Filter.parse(contract.filter, contract.fields).spark_sql)
    verdict = (
        F.when(~usable, str(Verdict.QUARANTINED))
        .when(wanted, str(Verdict.KEPT))
        .otherwise(str(Verdict.FILTERED))
    )
    return decoded.select(*POSITION, *columns, "_reason", "_field", verdict.alias("_verdict"))


def unusable(records: DataFrame, contract: Contract) -> DataFrame:
    """The records of Kafka's source that are unusable, whole.

    Gives `_topic, _partition, _offset, _timestamp, _key, _value, _headers, reason, field`.
    """
    judged: DataFrame = of_spark(contract.format).decode(_named(records), contract.fields, reasons_only=True)
    return judged.where(F.col("_reason").isNotNull()).select(
        *POSITION, *RAW, F.col("_reason").alias("reason"), F.col("_field").alias("field")
    )


def _named(records: DataFrame) -> DataFrame:
    """Kafka's columns under names that no field can have; a negative timestamp is null."""
    return records.select(
        *(F.col(name.removeprefix("_")).alias(name) for name in (*POSITION, *RAW))
    ).withColumn("_timestamp", F.when(F.unix_micros("_timestamp") >= 0, F.col("_timestamp")))
