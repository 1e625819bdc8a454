"""Micro-batches that Spark wrote are judged together.

Their rows are exactly what the second engine expects, to Arrow as well.
"""

from collections.abc import Callable, Iterator

import pytest

from headrace.kafka.client import Kafka
from headrace.kafka.cluster import Block
from headrace.kafka.offsets import OffsetRange
from slices import JSON, TEXT, Slice, broken


@pytest.mark.parametrize("text", [TEXT, JSON])
def test_what_spark_wrote_is_read_once(
    new_slice: Callable[..., Slice], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """One read for each topic-partition, with unusable records and headers among them.

    No micro-batch is judged again alone.
    """
    one = new_slice(text)
    for number in range(3):
        one.produce(f"run-{number}", records=60, malformed=0.3, seed=number)
        one.write(
            [(b"key", b"\xff"), (None, None)],
            headers=[("trace", b"\xff\x00"), ("trace", b""), ("empty", None)],
        )
        one.stream(f"run-{number}")
    assert broken(one.verify()) == {}
    read: list[OffsetRange] = []
    original = Kafka.read

    def counted(self: Kafka, offset_range: OffsetRange, *, committed: bool = True) -> Iterator[Block]:
        if len(offset_range) > 1:  # one alone is the last record, which is looked at before
            read.append(offset_range)
        return original(self, offset_range, committed=committed)

    monkeypatch.setattr(Kafka, "read", counted)
    assert broken(one.verify(all_of_it=True)) == {}
    places = {(account.topic, account.partition) for entry in one.ledger for account in entry.accounts}
    assert sorted((each.topic, each.partition) for each in read) == sorted(places)
