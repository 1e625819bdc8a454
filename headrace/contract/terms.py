"""The parts of a filter, each written out for both engines, with nothing left to their defaults."""

import string
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.contract.types import Kind
from headrace.contract.verdicts import Field


@dataclass(frozen=True)
class Term:
    """A part of a filter, translated.

    `number` is the value of a number literal, which takes on the kind that it stands beside.
    """

    kind: Kind
    spark: str
    duckdb: str
    number: int | float | None = None


def joined(kind: Kind, template: str, *terms: Term, duckdb: str | None = None) -> Term:
    """Terms put into a template; `duckdb` is DuckDB's, where it differs."""
    spark = template.format(*(term.spark for term in terms))
    return Term(kind, spark, (duckdb or template).format(*(term.duckdb for term in terms)))


def series(terms: Sequence[Term], separator: str) -> Term:
    """Terms of one kind side by side."""
    return Term(
        terms[0].kind,
        separator.join(term.spark for term in terms),
        separator.join(term.duckdb for term in terms),
    )


def boolean_literal(word: str) -> Term:
    """`true` or `false`."""
    return Term(Kind.BOOLEAN, word, word)


def timestamp_literal(microseconds: int) -> Term:
    """A moment, in microseconds since 1970 (UTC): no session's time zone has a say."""
    return Term(Kind.TIMESTAMP, f"timestamp_micros({microseconds}L)", f"make_timestamptz({microseconds})")


def text_literal(text: str) -> Term:
    """A string without NUL, which DuckDB refuses, and without backslash, Spark's escape in `like`."""
    # Spark replaces ${…} by a variable, also inside literals.
    spark = text.replace("'", "\\'").replace("$", "\\u0024")
    return Term(Kind.STRING, f"'{spark}'", "'" + text.replace("'", "''") + "'")


def number_literal(number: float) -> Term:
    """A bigint or a finite double; both engines read the same 64 bits."""
    if isinstance(number, int):
        return Term(Kind.INTEGER, f"{number}L", f"CAST('{number}' AS BIGINT)", number)
    # A bare 1.05 is a decimal to both engines.
    return Term(Kind.DOUBLE, f"{number!r}D", f"CAST('{number!r}' AS DOUBLE)", number)


def column(field: Field) -> Term:
    """A declared column."""
    return Term(field.type.kind, f"`{field.name}`", f'"{field.name}"')


def of_one_kind(terms: Sequence[Term]) -> Sequence[Term] | None:
    """The terms, with whole numbers written as doubles beside doubles; `None` if they don't fit together."""
    if {term.kind for term in terms} == {Kind.INTEGER, Kind.DOUBLE}:
        terms = [term if term.number is None else number_literal(float(term.number)) for term in terms]
    return terms if len({term.kind for term in terms}) == 1 else None


_ASCII = (string.ascii_uppercase, string.ascii_lowercase)


@dataclass(frozen=True)
class Function:
    """A function of the allow-list.

    Attributes:
        takes: Kind of every argument; `None`: any, but all the same, which is then the result's too.
        arguments: How many; `None`: one or more.
    """

    takes: Kind | None
    gives: Kind | None
    arguments: int | None
    spark: str
    duckdb: str | None = None


FUNCTIONS = {
    "contains": Function(Kind.STRING, Kind.BOOLEAN, 2, "contains({0}, {1})"),
    "startswith": Function(Kind.STRING, Kind.BOOLEAN, 2, "startswith({0}, {1})", "starts_with({0}, {1})"),
    "endswith": Function(Kind.STRING, Kind.BOOLEAN, 2, "endswith({0}, {1})", "ends_with({0}, {1})"),
    "length": Function(Kind.STRING, Kind.INTEGER, 1, "length({0})"),
    # On ASCII letters only: beyond them the engines' own `lower` and `upper` differ.
    "lower": Function(Kind.STRING, Kind.STRING, 1, f"translate({{0}}, '{_ASCII[0]}', '{_ASCII[1]}')"),
    "upper": Function(Kind.STRING, Kind.STRING, 1, f"translate({{0}}, '{_ASCII[1]}', '{_ASCII[0]}')"),
    "coalesce": Function(None, None, None, "coalesce({0})"),
}
