"""Runs both engines over the same values."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from headrace.contract import types
from headrace.contract.verdicts import Contract
from headrace.verify import engine
from headrace.verify.judge import Judge
from spark_apps.judge import judge

KAFKA = "key binary, value binary, topic string, partition int, offset bigint, timestamp timestamp, headers array<struct<key:string,value:binary>>"

Judgement = tuple[Any, ...]
"""Reason, verdict, field, then the declared columns; timestamps in microseconds, doubles in hexadecimal:
equal only if they are the same."""


def records(spark: SparkSession, values: Sequence[bytes | None]) -> DataFrame:
    """The values as Kafka's source gives them; the offset is the position."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [(None, value, "topic", 0, offset, at, None) for offset, value in enumerate(values)]
    return spark.createDataFrame(rows, KAFKA)


def by_spark(spark: SparkSession, contract: Contract, values: Sequence[bytes | None]) -> list[Judgement]:
    """What the Spark app says."""
    columns = [
        F.unix_micros(name) if kind == types.TIMESTAMP else F.col(name)
        for name, kind in contract.columns.items()
    ]
    judged = (
        judge(records(spark, values), contract)
        .orderBy("_offset")
        .select("_reason", "_verdict", "_field", *columns)
    )
    return [comparable(row) for row in judged.collect()]


def by_second_engine(contract: Contract, values: Sequence[bytes | None]) -> list[Judgement]:
    """What the verifier says."""
    judged = Judge(contract, engine.connect()).judge(values)
    columns = [
        (judged[name].cast("int64") if kind == types.TIMESTAMP else judged[name]).to_pylist()
        for name, kind in contract.columns.items()
    ]
    return [
        comparable(row)
        for row in zip(
            *(judged[name].to_pylist() for name in ("_reason", "_verdict", "_field")), *columns, strict=True
        )
    ]


def comparable(row: Sequence[Any]) -> Judgement:
    """A row whose parts are equal only if they are the same: -0.0 is not 0.0, NaN is NaN."""
    return tuple(value.hex() if isinstance(value, float) else value for value in row)


def shortened(value: bytes | None) -> str:
    """A value for a message."""
    return repr(value if value is None or len(value) < 200 else value[:100] + b" ... " + value[-60:])
