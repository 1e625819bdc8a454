"""I2: no position is published twice."""

import duckdb

from headrace.kafka.offsets import OffsetRange
from headrace.verify.findings import Advice, Findings, Invariant

UNIQUENESS = Invariant(
    id="I2",
    word="uniqueness",
    title="topic, partition and offset are unique over all files that entries name",
    unit="rows",
    advice=Advice(
        means="A position is there twice, so every reader counts that record twice.",
        do="If I8 is broken too, a file was altered, and so may be the positions in it: mend that first. "
        "If two published micro-batches hold the position, run `headrace reset {pipeline}` and ingest again from Kafka.",
    ),
)

_DOUBLED = "SELECT _offset FROM (SELECT _offset FROM kept UNION ALL SELECT _offset FROM unusable) GROUP BY _offset HAVING count(*) > 1"


def check_unique(
    database: duckdb.DuckDBPyConnection, span: OffsetRange, micro_batch: int, findings: Findings
) -> None:
    """Check the rows of a span, which are the tables `kept` and `unusable`."""
    for (offset,) in database.execute(_DOUBLED).fetchall():
        findings.add_record(
            UNIQUENESS, "published more than once", span.place, offset, micro_batch=micro_batch
        )
