"""An app with a mistake in it: the second engine notices, whatever the app's own account says."""

from collections.abc import Callable

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from slices import JSON, TEXT, Slice, broken
from spark_apps.judge import judge, unusable

Wrong = Callable[[DataFrame], DataFrame]


def negated(judged: DataFrame) -> DataFrame:
    """The filter the other way round."""
    swapped = (
        F.when(F.col("_verdict") == "kept", "filtered")
        .when(F.col("_verdict") == "filtered", "kept")
        .otherwise(F.col("_verdict"))
    )
    return judged.withColumn("_verdict", swapped)


def one_dropped(judged: DataFrame) -> DataFrame:
    """The last record of a partition is lost, and nobody counts it."""
    return judged.where("not (_partition = 0 and _offset = 99)")


def nulled(judged: DataFrame) -> DataFrame:
    """One field comes out empty now and then."""
    return judged.withColumn("value", F.when(F.col("_offset") % 50 == 7, None).otherwise(F.col("value")))


def swapped(judged: DataFrame) -> DataFrame:
    """One record's verdict is filtered instead of kept, another's the other way round."""
    verdict = F.col("_verdict")
    return judged.withColumn(
        "_verdict",
        F.when((F.col("_offset") % 9 == 1) & (verdict == "kept"), "filtered")
        .when((F.col("_offset") % 9 == 2) & (verdict == "filtered"), "kept")
        .otherwise(verdict),
    )


def lenient(judged: DataFrame) -> DataFrame:
    """Unusable records are passed over silently."""
    verdict = F.when(F.col("_verdict") == "quarantined", "filtered").otherwise(F.col("_verdict"))
    return judged.withColumns(
        {"_verdict": verdict, "_reason": F.lit(None).cast("string"), "_field": F.lit(None).cast("string")}
    )


def indulgent(judged: DataFrame) -> DataFrame:
    """Unusable records are published as if they were usable."""
    is_unusable = F.col("_verdict") == "quarantined"
    return judged.withColumns(
        {
            "value": F.when(is_unusable, F.lit("important")).otherwise(F.col("value")),
            "_verdict": F.when(is_unusable, F.lit("kept")).otherwise(F.col("_verdict")),
        }
    )


@pytest.mark.parametrize(
    ("wrong", "invariant"),
    [
        (negated, "I7"),
        (one_dropped, "I6"),
        (nulled, "I4"),
        (swapped, "I7"),
        (lenient, "I7"),
        (indulgent, "I7"),
    ],
)
def test_a_mutant_is_red(
    new_slice: Callable[..., Slice], monkeypatch: pytest.MonkeyPatch, wrong: Wrong, invariant: str
) -> None:
    """Each mistake breaks the invariant that is there for it."""
    monkeypatch.setattr(
        "spark_apps.publisher.judge", lambda records, contract: wrong(judge(records, contract))
    )
    one = new_slice(TEXT)
    one.ingest("run", records=400, malformed=0.1)
    found = broken(one.verify())
    assert invariant in found
    # A row that should not be there is not also compared with the broker's bytes.
    assert ("I4" in found) == (invariant == "I4")


def test_another_reason_in_the_quarantine_is_red(
    new_slice: Callable[..., Slice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quarantine is judged in a pass of its own."""
    monkeypatch.setattr(
        "spark_apps.publisher.unusable",
        lambda records, contract: unusable(records, contract).withColumn("reason", F.lit("not_json")),
    )
    one = new_slice(TEXT)
    one.ingest("run", records=400, malformed=0.1)
    assert "I7" in broken(one.verify())


def test_a_json_field_nulled_is_red(new_slice: Callable[..., Slice], monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoded field that is not what the broker's bytes say."""
    monkeypatch.setattr(
        "spark_apps.publisher.judge",
        lambda records, contract: judge(records, contract).withColumn("country", F.lit(None).cast("string")),
    )
    one = new_slice(JSON)
    one.ingest("run", records=200)
    assert "I4" in broken(one.verify())
