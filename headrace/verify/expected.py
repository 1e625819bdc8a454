"""What a block's records are to be published as, by the second engine."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from headrace.contract.verdicts import Contract, Verdict
from headrace.kafka.cluster import Block
from headrace.verify.judge import Judge

_HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
HEADERS_KNOWN = "_headers_known"


def expected(judge: Judge, block: Block) -> pa.Table:
    """What a block's records are to be published as: offset and raw parts, and the columns of `Judge.judge`.

    Raw parts are there as far as a row would have them: timestamp and key of a record that is kept or
    unusable, value and headers of an unusable one. `_headers_known` says whether the client could read its
    headers.
    """
    judged = judge.judge(block.values)
    verdicts = judged.column("_verdict")
    timestamps: list[int | None] = [None] * len(block.offsets)
    keys: list[bytes | None] = [None] * len(block.offsets)
    values: list[bytes | None] = [None] * len(block.offsets)
    headers: list[list[dict[str, object]] | None] = [None] * len(block.offsets)
    are_known = [True] * len(block.offsets)
    for at in pc.indices_nonzero(pc.not_equal(verdicts, Verdict.FILTERED.value)).to_pylist():
        timestamps[at], keys[at] = contract_timestamp(block.timestamps[at]), block.keys[at]
    for at in pc.indices_nonzero(pc.equal(verdicts, Verdict.QUARANTINED.value)).to_pylist():
        found = block.headers[at]
        values[at], are_known[at] = block.values[at], found is not None
        headers[at] = [{"key": key, "value": value} for key, value in found or []] or None
    position = {
        "_offset": pa.array(block.offsets, pa.int64()),
        "_timestamp": pa.array(timestamps, pa.timestamp("us", tz="UTC")),
        "_key": pa.array(keys, pa.binary()),
        "_value": pa.array(values, pa.binary()),
        "_headers": pa.array(headers, _HEADERS),
        HEADERS_KNOWN: pa.array(are_known, pa.bool_()),
    }
    return pa.table({**position, **dict(zip(judged.column_names, judged.columns, strict=True))})


def compared(contract: Contract) -> dict[Verdict, dict[str, str]]:
    """The columns of rows that are compared: their names in `expected` → those in the files.

    The topic-partition is equal already.
    """
    both = ["_offset", "_timestamp", "_key"]
    raw = ["_value", "_headers", HEADERS_KNOWN]
    return {
        Verdict.KEPT: {name: name for name in [*both, *contract.columns]},
        Verdict.QUARANTINED: {name: name for name in [*both, *raw]}
        | {"_reason": "reason", "_field": "field"},
    }


def published(records: pa.Table, verdict: Verdict, names: Mapping[str, str]) -> pa.Table:
    """The rows that records should have become, of one verdict, with the columns of `compared`."""
    own = records.filter(pc.equal(records.column("_verdict"), verdict.value))
    return own.select(list(names)).rename_columns(list(names.values()))


def contract_timestamp(milliseconds: int) -> int | None:
    """A record's timestamp in microseconds.

    Null if it is negative, since clients differ on calendars before 1970.
    """
    return milliseconds * 1000 if milliseconds >= 0 else None
