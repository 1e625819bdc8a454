"""Both engines give every record the same verdict, reason and columns, and those that the contract says."""

import json
from collections import Counter
from datetime import UTC, datetime

import pytest
from pyspark.sql import SparkSession

from headrace.contract import types
from headrace.contract.verdicts import Contract, Field, Format, Reason, Verdict
from spark_apps.judge import POSITION, judge, unusable
from tests.headrace.contract.hostile import JSON, JSON_CONTRACT, TEXT, TEXT_CONTRACT, Case
from tests.spark_apps.engines import KAFKA, by_second_engine, by_spark, shortened
from tests.spark_apps.mutated import any_bytes, mutated, sampled

pytestmark = pytest.mark.enable_socket


@pytest.mark.parametrize(
    ("contract", "cases"), [(TEXT_CONTRACT, TEXT), (JSON_CONTRACT, JSON)], ids=["text", "json"]
)
def test_hostile_values(spark: SparkSession, contract: Contract, cases: list[Case]) -> None:
    """Every hostile value gets the reason that the contract says, from both engines, and the same columns."""
    values = [value for value, _ in cases]
    found = zip(cases, by_spark(spark, contract, values), by_second_engine(contract, values), strict=True)
    wrong = [
        f"{shortened(value)}: expected {reason}, Spark says {first!r:.200}, the second engine {second!r:.200}"
        for (value, reason), first, second in found
        if first[0] != reason or first != second
    ]
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def samples() -> dict[Format, list[bytes]]:
    """Values close to what producers send."""
    return {"text": sampled(any_bytes(), 2_000), "json": sampled(mutated(), 2_000)}


@pytest.mark.parametrize("contract", [TEXT_CONTRACT, JSON_CONTRACT], ids=["text", "json"])
def test_mutated_values(spark: SparkSession, contract: Contract, samples: dict[Format, list[bytes]]) -> None:
    """Whatever the bytes are, both engines give the same reason, verdict and columns."""
    values = samples[contract.format]
    found = zip(values, by_spark(spark, contract, values), by_second_engine(contract, values), strict=True)
    differing = [
        f"{value!r}: Spark says {first!r}, the second engine {second!r}"
        for value, first, second in found
        if first != second
    ]
    assert not differing, "\n".join(sorted(differing, key=len)[:5])


def test_mutated_values_reach_every_reason(samples: dict[Format, list[bytes]]) -> None:
    """The values of the test before are worth judging.

    Every reason occurs, and a part of them is usable, a fifth as a rule.
    """
    reasons = Counter(judgement[0] for judgement in by_second_engine(JSON_CONTRACT, samples["json"]))
    assert {*Reason} - {*reasons} <= {Reason.NULL_VALUE, Reason.EMPTY_VALUE, Reason.NOT_OBJECT}
    assert reasons[None] > 200


def test_fields_may_be_called_what_other_columns_are_called(spark: SparkSession) -> None:
    """Names of Kafka's columns, of ours without their underscore, and words of SQL are names like others."""
    names = [
        "key",
        "value",
        "topic",
        "timestamp",
        "headers",
        "reason",
        "verdict",
        "text",
        "typed",
        "block",
        "order",
        "like",
        "is",
    ]
    contract = Contract(
        format="json",
        fields=tuple(Field(name, types.INT, required=False) for name in names),
        filter="`like` = 1 and value > topic and block < 100",
    )
    values = [
        json.dumps(dict.fromkeys(names, 1) | {"value": 2}).encode(),
        b'{"like":1}',
        b'{"_typed":1,"_fits":2,"_reason":"x"}',
        b"x",
    ]
    judged = by_spark(spark, contract, values)
    assert judged == by_second_engine(contract, values)
    assert [judgement[1] for judgement in judged] == [
        Verdict.KEPT,
        Verdict.FILTERED,
        Verdict.FILTERED,
        Verdict.QUARANTINED,
    ]


def test_a_record_stays_whole(spark: SparkSession) -> None:
    """Key, headers, position and the raw value pass through, whatever they are."""
    at = datetime(2026, 1, 1, 0, 0, 0, 999_000, tzinfo=UTC)
    headers = [("h", b"\xff"), ("h", None), ("", b"")]
    rows = [(b"\xff\x00", b"\xfe", "t", 3, 7, at, headers), (b"", None, "t", 3, 8, at, None)]
    records = spark.createDataFrame(rows, KAFKA)
    assert judge(records, TEXT_CONTRACT).columns == [*POSITION, "value", "_reason", "_field", "_verdict"]
    whole = unusable(records, TEXT_CONTRACT)
    assert whole.columns == [*POSITION, "_value", "_headers", "reason", "field"]
    first, second = whole.orderBy("_offset").collect()
    assert (first["_topic"], first["_partition"], first["_offset"], first["_key"], first["_value"]) == (
        "t",
        3,
        7,
        b"\xff\x00",
        b"\xfe",
    )
    assert [tuple(header) for header in first["_headers"]] == headers
    assert (second["_key"], second["_value"], second["_headers"]) == (b"", None, None)
    assert first["_timestamp"].microsecond == 999_000
