"""Each member of the filter's allow-list means the same in Spark, in DuckDB, and in the user's Spark SQL."""

import random
from collections.abc import Callable, Sequence

import duckdb
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from headrace.contract import types
from headrace.contract.filter import Filter
from tests.headrace.contract.filters import BIG_WHOLES, DOUBLES, FIELDS, MEMBERS, MOMENTS, STRINGS, WHOLES
from tests.spark_apps.mutated import sampled

pytestmark = pytest.mark.enable_socket

ROWS = 1_000
POOLS: dict[types.Type, Sequence[object]] = {
    types.STRING: STRINGS,
    types.INT: WHOLES,
    types.BIGINT: BIG_WHOLES,
    types.DOUBLE: DOUBLES,
    types.BOOLEAN: [True, False],
    types.TIMESTAMP: MOMENTS,
}

Outcomes = list[tuple[bool | None, ...]]
"""Per row, what each filter says: null is neither true nor false."""


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Rows of values that engines disagree on, a good part of them null."""
    chance = random.Random(20261122)
    columns = {
        field.name: pa.array(
            [chance.choice([None, None, *POOLS[field.type]]) for _ in range(ROWS)], field.type.arrow
        )
        for field in FIELDS
    }
    return pa.table(columns)


@pytest.fixture(scope="module")
def rows(spark: SparkSession, table: pa.Table) -> DataFrame:
    """The same rows in Spark, in their order by `_row`."""
    moments = [field.name for field in FIELDS if field.type == types.TIMESTAMP]
    schema = ", ".join(
        [
            "_row int",
            *(f"`{field.name}` {'bigint' if field.name in moments else field.type}" for field in FIELDS),
        ]
    )
    columns = [
        table[field.name].cast("int64") if field.name in moments else table[field.name] for field in FIELDS
    ]
    content = list(zip(range(ROWS), *(column.to_pylist() for column in columns), strict=True))
    return spark.createDataFrame(content, schema).withColumns(
        {name: F.timestamp_micros(name) for name in moments}
    )


def by_spark(rows: DataFrame, conditions: Sequence[str]) -> Outcomes:
    """What Spark says."""
    columns = [F.expr(condition).alias(f"c{number}") for number, condition in enumerate(conditions)]
    return [tuple(row)[1:] for row in rows.select("_row", *columns).orderBy("_row").collect()]


def by_duckdb(table: pa.Table, conditions: Sequence[str]) -> Outcomes:
    """What DuckDB says."""
    with duckdb.connect() as database:
        database.register("records", table)
        return database.execute(f"select {', '.join(conditions)} from records").fetchall()


def differing(table: pa.Table, texts: Sequence[str], outcomes: Outcomes, others: Outcomes) -> list[str]:
    """One line for each filter that the engines disagree on, with the first row that shows it."""
    lines: dict[str, str] = {}
    for number, (said, other) in enumerate(zip(outcomes, others, strict=True)):
        for text, one, two in zip(texts, said, other, strict=True):
            if one is not two:
                lines.setdefault(text, f"{text!r}: {one} and {two} for {table.slice(number, 1).to_pydict()}")
    return list(lines.values())


@pytest.fixture(scope="module")
def members(rows: DataFrame, table: pa.Table) -> dict[str, list[str]]:
    """What differs, per member; one job for all of them."""
    texts = [text for filters in MEMBERS.values() for text in filters]
    filters = [Filter.parse(text, FIELDS) for text in texts]
    duck = by_duckdb(table, [each.duckdb_sql for each in filters])
    lines = differing(table, texts, by_spark(rows, [each.spark_sql for each in filters]), duck)
    return {
        member: [line for line in lines if any(line.startswith(f"{text!r}:") for text in texts)]
        for member, texts in MEMBERS.items()
    }


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_means_the_same_in_both_engines(members: dict[str, list[str]], member: str) -> None:
    """Spark and DuckDB say the same about every row: true, false or null."""
    assert members[member] == []


def test_a_filter_means_what_it_means_in_spark_sql(rows: DataFrame, table: pa.Table) -> None:
    """What a user writes means the same when Spark reads it as it stands, but for the named exceptions."""
    # lower and upper know ASCII letters only; a ${…} stays what it is.
    texts = [
        text
        for member, filters in MEMBERS.items()
        if member not in {"lower", "upper"}
        for text in filters
        if "${" not in text
    ]
    ours = by_spark(rows, [Filter.parse(text, FIELDS).spark_sql for text in texts])
    assert differing(table, texts, by_spark(rows, texts), ours) == []


def _called(name: str, *arguments: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*arguments).map(lambda found: f"{name}({', '.join(found)})")


def _between(operator: str) -> Callable[[tuple[str, str]], str]:
    return lambda sides: f"({sides[0]} {operator} {sides[1]})"


def conditions() -> st.SearchStrategy[str]:
    """Filters of all members, inside each other."""
    literals = st.sampled_from(
        [text.replace("'", "''") for text in STRINGS if "\\" not in text and "\0" not in text]
    ).map("'{}'".format)
    strings = st.recursive(
        st.sampled_from(["a", "b"]) | literals,
        lambda inner: _called("lower", inner) | _called("upper", inner) | _called("coalesce", inner, inner),
        max_leaves=4,
    )
    wholes = st.recursive(
        st.sampled_from(["i", "n", "`order`", *map(str, BIG_WHOLES)]) | _called("length", strings),
        lambda inner: _called("coalesce", inner, inner),
        max_leaves=3,
    )
    doubles = st.recursive(
        st.sampled_from(["d", "e", "d", "e", *map(str, DOUBLES)]),
        lambda inner: (
            st.tuples(inner, inner).flatmap(
                lambda sides: st.sampled_from("+-*").map(lambda sign: _between(sign)(sides))
            )
            | _called("coalesce", inner, inner)
        ),
        max_leaves=5,
    )
    moments = st.sampled_from(
        ["t", "u", "timestamp '2026-01-01T00:00:00.000001Z'", "timestamp '0001-01-01T00:00:00Z'"]
    )
    kinds = [strings, wholes, doubles, moments]

    def compared(operands: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        pairs = st.tuples(operands, operands)
        return st.one_of(
            st.sampled_from(["=", "<>", "<", "<=", ">", ">="]).flatmap(
                lambda sign: pairs.map(_between(sign))
            ),
            st.tuples(
                operands, st.sampled_from(["in", "not in"]), st.lists(operands, min_size=1, max_size=14)
            ).map(lambda found: f"({found[0]} {found[1]} ({', '.join(found[2])}))"),
            st.tuples(operands, st.sampled_from(["between", "not between"]), pairs).map(
                lambda found: f"({found[0]} {found[1]} {found[2][0]} and {found[2][1]})"
            ),
            st.tuples(operands, st.sampled_from(["is null", "is not null"])).map(
                lambda found: f"({' '.join(found)})"
            ),
        )

    simple = st.one_of(
        st.sampled_from(["x", "y", "true", "false"]),
        *map(compared, kinds),
        *(_called(name, strings, strings) for name in ("contains", "startswith", "endswith")),
        st.tuples(strings, st.sampled_from(["like", "not like"]), literals).map(
            lambda found: f"({' '.join(found)})"
        ),
    )
    return st.recursive(
        simple,
        lambda inner: st.one_of(
            compared(inner),
            st.tuples(inner, inner).map(_between("and")),
            st.tuples(inner, inner).map(_between("or")),
            inner.map("(not {})".format),
            _called("coalesce", inner, inner),
        ),
        max_leaves=6,
    )


def test_filters_of_all_members_mean_the_same_in_both_engines(rows: DataFrame, table: pa.Table) -> None:
    """Members inside each other, as Hypothesis puts them together."""
    texts: list[str] = sampled(conditions(), 150)
    filters = [Filter.parse(text, FIELDS) for text in texts]
    found = by_spark(rows, [each.spark_sql for each in filters])
    assert differing(table, texts, found, by_duckdb(table, [each.duckdb_sql for each in filters])) == []
