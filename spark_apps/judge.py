"""Gives every record its verdict, by expressions alone: no UDF, and nothing that can raise under ANSI, whatever the bytes are.

The rule is written in `docs/contract.md`; the second engine obeys the same text with other code.
"""

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
    VariantType,
)

from headrace.contract.filter import Filter
from headrace.contract.verdicts import MAX_NESTING, RANGES, Contract, Field, FieldType, Format, Reason, Verdict
