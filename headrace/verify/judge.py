"""The second engine: gives each record its verdict again, by DuckDB and code that shares nothing with Spark."""

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from headrace.contract.filter import Filter
from headrace.contract.verdicts import Contract, FieldType, Verdict
from headrace.verify.decode import decoder

ARROW = {
    FieldType.STRING: pa.string(),
    FieldType.INT: pa.int32(),
    FieldType.BIGINT: pa.int64(),
    FieldType.DOUBLE: pa.float64(),
    FieldType.BOOLEAN: pa.bool_(),
    FieldType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}
