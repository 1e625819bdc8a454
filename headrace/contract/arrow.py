"""Declared columns as Arrow types: how they lie in Parquet and in the second engine."""

import pyarrow as pa

from headrace.contract.verdicts import FieldType

ARROW = {
    FieldType.STRING: pa.string(),
    FieldType.INT: pa.int32(),
    FieldType.BIGINT: pa.int64(),
    FieldType.DOUBLE: pa.float64(),
    FieldType.BOOLEAN: pa.bool_(),
    FieldType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}
