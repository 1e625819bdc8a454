"""Both engines give every record the same verdict, reason and columns, and those that the contract says."""

from collections import Counter

import pytest
from pyspark.sql import SparkSession

from headrace.contract.verdicts import Contract, Reason
from tests.headrace.contract.hostile import JSON, JSON_CONTRACT, TEXT, TEXT_CONTRACT, Case
from tests.spark_apps.engines import by_second_engine, by_spark, shortened
from tests.spark_apps.mutated import mutated, sampled

pytestmark = pytest.mark.enable_socket


@pytest.mark.parametrize(("contract", "cases"), [(TEXT_CONTRACT, TEXT), (JSON_CONTRACT, JSON)], ids=["text", "json"])
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


def test_mutated_values(spark: SparkSession) -> None:
    """Whatever the bytes are, both engines give the same reason, verdict and columns."""
    values: list[bytes] = sampled(mutated(), 2_000)
    found = zip(values, by_spark(spark, JSON_CONTRACT, values), by_second_engine(JSON_CONTRACT, values), strict=True)
    differing = [f"{value!r}: Spark says {first!r}, the second engine {second!r}" for value, first, second in found if first != second]
    assert not differing, "\n".join(sorted(differing, key=len)[:5])


def test_mutated_values_reach_every_reason() -> None:
    """The values of the test before are worth judging: every reason occurs, and a good part is usable."""
    reasons = Counter(judgement[0] for judgement in by_second_engine(JSON_CONTRACT, sampled(mutated(), 500)))
    assert {*Reason} - {*reasons} <= {Reason.NULL_VALUE, Reason.EMPTY_VALUE, Reason.NOT_OBJECT}
    assert reasons[None] > 50
