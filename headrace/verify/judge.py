"""The second engine: judges records again, by Python and DuckDB.

It shares the parsed filter with Spark's side, translated for each.
"""

from collections.abc import Sequence
from itertools import repeat

import duckdb
import pyarrow as pa

from headrace.contract.filter import Filter
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
        self.decoders = sample.decoders(contract) if sample else repeat(decoder(contract))
        self.database = database
        self.filter = Filter.parse(contract.filter, contract.fields).duckdb_sql

    def judge(self, values: Sequence[bytes | None]) -> pa.Table:
        """Give each value its verdict.

        The columns are `_reason` (string, null if usable), `_field` (string, null if the reason is about no
        declared field), the declared columns (null if unusable) and `_verdict` (string), the rows in the
        order of the values.
        """
        decoded = [decode(value) for value, decode in zip(values, self.decoders, strict=False)]
        columns = (
            zip(*(row for *_, row in decoded), strict=True) if decoded else [()] * len(self.contract.fields)
        )
        arrays = {
            "_reason": pa.array([reason for reason, _, _ in decoded], pa.string()),
            "_field": pa.array([field for _, field, _ in decoded], pa.string()),
        }
        for (name, kind), column in zip(self.contract.columns.items(), columns, strict=True):
            arrays[name] = pa.array(column, kind.arrow)
        block = pa.table(arrays)  # noqa: F841 - DuckDB finds it by its name
        verdict = f"case when _reason is not null then '{Verdict.QUARANTINED}' when {self.filter} then '{Verdict.KEPT}' else '{Verdict.FILTERED}' end"
        return self.database.sql(f"select *, {verdict} as _verdict from block").to_arrow_table()  # noqa: S608 - Filter wrote it
