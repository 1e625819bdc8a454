"""A consumer in one process, as a good user would write it: confluent-kafka, pyarrow.json or orjson, Parquet.

    python consumer.py SERVERS FILE TOPIC pyarrow|orjson

No ledger, no retries, no quarantine: a record that is no JSON ends it, and after a crash it starts over.
"""

import sys
from datetime import datetime

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

BLOCK = 50_000

servers, file, topic, parser = sys.argv[1:]
schema = pa.schema(
    [
        ("order_id", pa.int64()),
        ("customer", pa.string()),
        ("amount", pa.float64()),
        ("paid", pa.bool_()),
        ("placed_at", pa.timestamp("us", tz="UTC")),
        ("country", pa.string()),
    ]
)


def by_pyarrow(values: list[bytes]) -> pa.Table:
    """A block at once."""
    joined = b"\n".join(values)
    return pj.read_json(
        pa.BufferReader(joined),
        pj.ReadOptions(block_size=len(joined) + 1),
        pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )


def by_orjson(values: list[bytes]) -> pa.Table:
    """Record by record."""
    rows = []
    for value in values:
        row = orjson.loads(value)
        row["placed_at"] = datetime.fromisoformat(row["placed_at"])
        rows.append(row)
    return pa.Table.from_pylist(rows, schema)


parse = {"pyarrow": by_pyarrow, "orjson": by_orjson}[parser]
consumer = Consumer(
    {
        "bootstrap.servers": servers,
        "group.id": "bench",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "fetch.queue.backoff.ms": 5,
    }
)
partitions = consumer.list_topics(topic, 10).topics[topic].partitions
ends = {each: consumer.get_watermark_offsets(TopicPartition(topic, each))[1] for each in partitions}
consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in partitions])
left = sum(ends.values())
with pq.ParquetWriter(file, schema) as writer:
    while left:
        messages = consumer.consume(min(BLOCK, left), timeout=1.0)
        left -= len(messages)
        if messages:
            table = parse([message.value() for message in messages])
            kept = pc.and_(pc.greater(table["amount"], 700), pc.is_valid(table["country"]))
            writer.write_table(table.filter(kept))
consumer.close()
