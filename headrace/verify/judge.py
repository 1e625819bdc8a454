"""The second engine: gives each record its verdict again, by DuckDB and code that shares nothing with Spark."""


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
