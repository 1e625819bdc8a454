"""Decodes JSON objects strictly, with a parser that is lenient.

Spark's `from_json` stops reading after the first value, takes an array of one object for the object, and
turns what it cannot convert into nulls. What the contract asks beyond that is asked here, by expressions:

- The typed parse gives numbers and booleans the types of their columns; for these `from_json` is strict.
  Strings are read as variants, which know what stood there. It fails as a whole where a number or boolean
  does not fit, and then says nothing more.
- The exact parse, needed only after that, reads all fields as variants: those take whatever stands there, so
  the last of duplicate keys counts and the record's other fields are not spoiled.
- What follows the first value T goes unnoticed. Inside `[…]` anything after T is an error or a second
  element, unless it starts with `]`; inside `{"":…}` anything is an error, unless it starts with `}` or `,`.
  So what reads as one value both ways is T and nothing else. Most records need neither: where the only `}` is
  the last character, the object that was read ends there.
"""

from collections.abc import Iterable
from functools import reduce
from operator import or_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from headrace.contract.types import STRING, TIMESTAMP, Boolean, Double, Integer, String, Timestamp, Type
from headrace.contract.verdicts import Field, Reason
from headrace.formats.json.contract import MAX_NESTING

RFC_3339 = (
    "^(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?"
    "(Z|[+-]((0[0-9]|1[0-7]):[0-5][0-9]|18:00))\\z"
)
"""RFC 3339 as far as the contract takes it. Whether there is such a day is left to the conversion."""

FIRST_MOMENT, LAST_MOMENT = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Years 1 to 9999, in microseconds since 1970 (UTC)."""


def decode(records: DataFrame, fields: tuple[Field, ...], unreadable: Column) -> DataFrame:
    """Add the declared columns, `_reason` (the first of `unreadable` and the reasons of JSON) and `_field`.

    Reads `_value` and `_text`.
    """
    unreadable = F.coalesce(F.when(F.octet_length("_value") == 0, str(Reason.EMPTY_VALUE)), unreadable)
    # Otherwise an object in which a key comes twice fails the whole record, wherever it is.
    records.sparkSession.conf.set("spark.sql.variant.allowDuplicateKeys", "true")

    typed = _from_json("_text", {field.name: _read_as(field.type) for field in fields})
    exact = _from_json("_text", {field.name: "variant" for field in fields})
    from_typed = F.struct(*(F.col(f"_typed.{field.name}") for field in fields))
    from_exact = F.struct(*(_converted(field).alias(field.name) for field in fields))

    # Each step is a projection of its own, so that what the next one uses more than once is computed once.
    parsed = (
        records.withColumns({"_is_object": F.col("_text").rlike("^[ \\t\\r\\n]*[{]"), "_typed": typed})
        .withColumn(
            "_fits", F.col("_is_object") & F.col("_typed").isNotNull() & F.col("_typed._corrupt").isNull()
        )
        .withColumn("_exact", F.when(~F.col("_fits"), exact))
        .withColumn("_found", F.when(F.col("_fits"), from_typed).otherwise(from_exact))
    )
    judged = parsed.withColumns({field.name: _value(field) for field in fields}).withColumn(
        "_reason", F.when(unreadable.isNotNull(), unreadable).otherwise(_unusable(fields))
    )
    return judged.withColumn("_field", _field(fields))


def _field(fields: tuple[Field, ...]) -> Column:
    """The first declared field that the reason is about. Only the quarantine asks for it."""
    wrong = _first((field, _is_wrong(field)) for field in fields)
    missing = _first((field, F.col(field.name).isNull()) for field in fields if field.required)
    return F.when(F.col("_reason") == Reason.WRONG_TYPE, wrong).when(
        F.col("_reason") == Reason.MISSING_FIELD, missing
    )


def _first(conditions: Iterable[tuple[Field, Column]]) -> Column:
    """The name of the first field whose condition is true."""
    return F.coalesce(
        *(F.when(condition, field.name) for field, condition in conditions), F.lit(None).cast("string")
    )


def _unusable(fields: tuple[Field, ...]) -> Column:
    wrong = _any(_is_wrong(field) for field in fields)
    missing = _any(F.col(field.name).isNull() for field in fields if field.required)
    return (
        F.when(~_is_json(), str(Reason.NOT_JSON))
        .when(~F.col("_is_object"), str(Reason.NOT_OBJECT))
        .when(wrong, str(Reason.WRONG_TYPE))
        .when(missing, str(Reason.MISSING_FIELD))
    )


def _is_json() -> Column:
    """Whether the text is one JSON value, nothing else, and can be written in UTF-8."""
    text = F.col("_text")
    one_element = (
        F.size(
            F.from_json(F.concat(F.lit("["), text, F.lit("]")), "array<string>", _options(MAX_NESTING + 1))
        )
        == 1
    )
    one_member = F.from_json(
        F.concat(F.lit('{"":'), text, F.lit("}")), "_corrupt string", _options(MAX_NESTING + 1)
    )["_corrupt"].isNull()
    ends_there = F.octet_length(F.substring_index(text, "}", 1)) == F.octet_length(text) - 1
    one_value = (F.col("_fits") & ends_there) | (one_element & (~F.contains(text, F.lit("]")) | one_member))
    return F.coalesce(one_value, F.lit(False)) & ~_has_lone_surrogate()


def _has_lone_surrogate() -> Column:
    r"""Whether there is an escape `\uD800` to `\uDFFF` that is not half of a pair."""
    pairs_and_backslashes = r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    others = F.regexp_replace("_text", pairs_and_backslashes, "-")
    return F.contains("_text", F.lit("\\u")) & others.rlike(r"\\u[dD][89a-fA-F]")


def _converted(field: Field) -> Column:
    """What the exact parse found, as the typed one would have given it."""
    variant = F.col(f"_exact.{field.name}")
    if field.type == STRING:
        return variant
    read_as = _read_as(field.type)
    return F.when(
        F.schema_of_variant(variant).rlike(_written_as(field.type)), F.try_variant_get(variant, "$", read_as)
    )


def _written_as(kind: Type) -> str:
    """What a variant calls the literals that a type takes, as a regular expression."""
    match kind:
        case Integer():
            return "^BIGINT$"
        case Double():
            return "^(BIGINT|DECIMAL.*|DOUBLE)$"
        case Boolean():
            return "^BOOLEAN$"
        case String() | Timestamp():
            return "^STRING$"
        case _:
            raise NotImplementedError(str(kind))


def _read_as(kind: Type) -> str:
    """What the typed parse reads a field as. Other literals than strings are no timestamps."""
    match kind:
        case String():
            return "variant"
        case Timestamp():
            return "string"
        case _:
            return str(kind)


def _value(field: Field) -> Column:
    """The field's value; null if it is absent, null, or of another type."""
    found = F.col(f"_found.{field.name}")
    match field.type:
        case String():
            return F.when(F.schema_of_variant(found) == "STRING", F.try_variant_get(found, "$", "string"))
        case Double():
            infinity = F.lit(float("inf"))
            # Adding zero makes a zero of the negative zero, which equals it but hashes otherwise.
            return F.when((found < infinity) & (found > -infinity), found + F.lit(0.0))
        case Timestamp():
            return F.when(found.rlike(RFC_3339), F.try_to_timestamp(found))
        case Integer() | Boolean():
            return found
        case _:
            raise NotImplementedError(str(field.type))


def _is_wrong(field: Field) -> Column:
    """Whether the record holds something for the field, but nothing that its type takes."""
    found, exact = F.col(f"_found.{field.name}"), F.col(f"_exact.{field.name}")
    is_found = found.isNotNull() & ~F.is_variant_null(found) if field.type == STRING else found.isNotNull()
    is_there = is_found | (exact.isNotNull() & ~F.is_variant_null(exact))
    wrong = F.col(field.name).isNull() & is_there
    if field.type == TIMESTAMP:
        wrong |= ~F.col(field.name).between(
            F.timestamp_micros(F.lit(FIRST_MOMENT)), F.timestamp_micros(F.lit(LAST_MOMENT))
        )
    return wrong


def _any(conditions: Iterable[Column]) -> Column:
    return reduce(or_, conditions, F.lit(False))


def _from_json(text: str, types: dict[str, str]) -> Column:
    schema = ", ".join(f"`{name}` {kind}" for name, kind in types.items())
    return F.from_json(text, f"{schema}, _corrupt string", _options(MAX_NESTING))


def _options(nesting: int) -> dict[str, str]:
    no_limit = str(2**31 - 1)
    return {
        "columnNameOfCorruptRecord": "_corrupt",
        "allowSingleQuotes": "false",
        "allowNonNumericNumbers": "false",
        "maxNestingDepth": str(nesting),
        "maxNumLen": no_limit,
        "maxStringLen": no_limit,
    }
