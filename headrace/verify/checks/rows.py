"""I4: each published row is what the broker holds at its position."""

from collections.abc import Iterable

import duckdb

from headrace.kafka.offsets import OffsetRange, TopicPartition
from headrace.ledger.entry import Entry
from headrace.verify.findings import Advice, Findings, Invariant

ROWS = Invariant(
    id="I4",
    word="rows",
    title="each row equals the broker's bytes, decoded independently",
    unit="rows",
    advice=Advice(
        means="A row in the files is not what the broker holds at that position.",
        do="If I8 is broken too, the file was altered: put back a copy. If not, the Spark app wrote something else than it read, "
        "which is a bug: keep the folder as it is, and use `headrace reset {pipeline}` to write the records again "
        "while Kafka still holds them.",
    ),
)


def differing(table: str, columns: Iterable[str]) -> str:
    """SQL for the names of those columns in which a row of a table differs from the row `expected`."""
    cases = (f"CASE WHEN {_differs(table, column)} THEN '{column.strip(chr(34))}' END" for column in columns)
    return f"concat_ws(', ', {', '.join(cases)})"


def _differs(table: str, column: str) -> str:
    published = f"{table}.{column}"
    if column == "_headers":
        # The client on this side ends a name at its first NUL.
        published = f"list_transform({published}, lambda each: {{'key': split_part(each.key, chr(0), 1), 'value': each.value}})"
        return f"expected._headers_known AND expected.{column} IS DISTINCT FROM {published}"
    return f"expected.{column} IS DISTINCT FROM {published}"


def report_differing(
    columns: str, span: OffsetRange, offset: int, micro_batch: int, findings: Findings
) -> None:
    """A row that differs from its record.

    Args:
        columns: Their names, as `differing` gives them.
    """
    findings.add_record(
        ROWS, f"not as the broker has it in {columns}", span.place, offset, micro_batch=micro_batch
    )


def report_absent(verdict: str, span: OffsetRange, offset: int, micro_batch: int, findings: Findings) -> None:
    """A row without a record."""
    findings.add_record(
        ROWS, f"{verdict}, but the broker holds no such record", span.place, offset, micro_batch=micro_batch
    )


def check_outside(database: duckdb.DuckDBPyConnection, entry: Entry, findings: Findings) -> None:
    """No row of an entry's files, which are `all_kept` and `all_unusable`, lies outside of its ranges."""
    inside = [
        f"(_topic = ? AND _partition = ? AND _offset >= {r.from_offset} AND _offset < {r.until_offset})"
        for r in entry.ranges
    ]
    places = [value for r in entry.ranges for value in r.place]
    for name in ("kept", "unusable"):
        outside = database.execute(
            f"SELECT _topic, _partition, _offset FROM all_{name} WHERE ({' OR '.join(inside) or 'false'}) IS NOT TRUE",  # noqa: S608, numbers and a name of ours
            places,
        )
        for topic, partition, offset in outside.fetchall():
            what = "published in a micro-batch whose ranges do not hold it"
            if None in (topic, partition, offset):
                message = f"a row without a whole position ({(topic, partition, offset)}) was {what}"
                findings.add(ROWS, message, micro_batch=entry.number)
            else:
                findings.add_record(
                    ROWS, what, TopicPartition(topic, partition), offset, micro_batch=entry.number
                )
