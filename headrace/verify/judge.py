"""The second engine: judges records again, by pyarrow, orjson, Python and DuckDB.

It shares the parsed filter with Spark's side, translated for each.
"""

from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from headrace.contract.filter import Filter
from headrace.contract.formats import of_reference
from headrace.contract.verdicts import Contract, Verdict
from headrace.formats.decoding import decoder
from headrace.verify.undeclared import Undeclared


class Judge:
    """Judges blocks of records by one contract, in a DuckDB; not for use by several threads at once.

    Attributes:
        sample: Takes its share of the records.
    """

    def __init__(
        self, contract: Contract, database: duckdb.DuckDBPyConnection, sample: Undeclared | None = None
    ) -> None:
        self.contract = contract
        self.sample = sample
        self._quick = of_reference(contract.format).quick(contract.fields)
        self._exact = decoder(contract)
        self.database = database
        self.filter = Filter.parse(contract.filter, contract.fields).duckdb_sql

    def judge(self, values: Sequence[bytes | None]) -> pa.Table:
        """Give each value its verdict.

        The columns are `_reason` (string, null if usable), `_field` (string, null if the reason is about no
        declared field), the declared columns (null if unusable) and `_verdict` (string), the rows in the
        order of the values.
        """
        if self.sample:
            self.sample.take(self.contract, values)
        columns, left = self._quick(values)
        reasons = about = pa.nulls(len(values), pa.string())
        if left:
            places = sorted(left)
            found = [self._exact(values[at]) for at in places]
            reasons, about = (
                _put(pa.nulls(len(values), pa.string()), places, pa.array(part, pa.string()))
                for part in ([reason for reason, _, _ in found], [field for _, field, _ in found])
            )
            columns = [
                _put(column, places, pa.array([row[at] for _, _, row in found], column.type))
                for at, column in enumerate(columns)
            ]
        block = pa.table([reasons, about, *columns], ["_reason", "_field", *self.contract.columns])
        verdict = f"case when _reason is not null then '{Verdict.QUARANTINED}' when {self.filter} then '{Verdict.KEPT}' else '{Verdict.FILTERED}' end"
        verdicts = self.database.sql(f"select {verdict} as _verdict from block").to_arrow_table()  # noqa: S608 - Filter wrote it
        return block.append_column("_verdict", verdicts.column(0).cast(pa.string()))


def _put(column: pa.Array, places: Sequence[int], values: pa.Array) -> pa.Array:
    """A column with other values in some places."""
    mask = [False] * len(column)
    for at in places:
        mask[at] = True
    return pc.replace_with_mask(column, pa.array(mask), values)
