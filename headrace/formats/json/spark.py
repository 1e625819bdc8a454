"""Spark's side of JSON: a strict decoder in Python workers, which values reach and columns come back from.

What the workers run is in `decoder.py`. It is sent to them with the plan: an executor needs Python, pyarrow
and msgspec, and nothing of Headrace.
"""

from pyspark import cloudpickle
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type

from headrace.contract.types import Boolean, Double, Integer, String, Timestamp
from headrace.contract.verdicts import Field
from headrace.formats.json import decoder
from headrace.formats.json.contract import MAX_KEY_LENGTH, MAX_NESTING

cloudpickle.register_pickle_by_value(decoder)  # type: ignore[no-untyped-call]


def decode(records: DataFrame, fields: tuple[Field, ...], *, reasons_only: bool = False) -> DataFrame:
    """Add the declared columns if they are wanted, `_reason` and `_field`. Reads `_value`."""
    members = [member(field) for field in fields]
    limits = decoder.Limits(MAX_NESTING, MAX_KEY_LENGTH)
    made = decoder.REASONS if reasons_only else decoder.Decoder(members, limits).type
    decoded = F.arrow_udf(  # type: ignore[attr-defined]
        decoder.in_worker(members, limits, reasons_only=reasons_only), from_arrow_type(made)
    ).asNondeterministic()  # otherwise it may run once for each column
    parsed = records.withColumn("_decoded", decoded("_value"))
    return parsed.withColumns({each.name: F.col("_decoded").getField(each.name) for each in made})


def member(field: Field) -> decoder.Member:
    """A field, as the decoder knows it."""
    match field.type:
        case Integer() as kind:
            return decoder.Member(field.name, str(kind), field.required, kind.lowest, kind.highest)
        case String() | Double() | Boolean() | Timestamp() as kind:
            return decoder.Member(field.name, str(kind), field.required)
        case kind:
            raise NotImplementedError(str(kind))
