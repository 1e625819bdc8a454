"""Transactional topics.

Aborted records and markers are gaps, and an open transaction hides what lies behind it.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import msgspec
import pytest
from confluent_kafka import Producer

from headrace import documents
from headrace.cli import topics
from headrace.errors import Code, OpenTransactionError
from headrace.kafka.client import Kafka
from headrace.kafka.cluster import Block
from headrace.kafka.offsets import OffsetRange, TopicPartition
from headrace.ledger.receipts import ReceiptState
from slices import Slice, broken


def transaction(one: Slice, name: str, values: list[bytes], timestamp: int = 0) -> Producer:
    """A producer with a transaction begun and records sent, neither committed nor aborted.

    0 is for a timestamp of now.
    """
    producer = Producer({"bootstrap.servers": one.servers, "transactional.id": name, "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(one.topic, value, b"same", partition=0, timestamp=timestamp)
    producer.flush(30)
    return producer


def test_committed_and_aborted_transactions_balance(new_slice: Callable[..., Slice]) -> None:
    """Committed records have verdicts; aborted ones and both markers are gaps, confirmed by verify."""
    one = new_slice()
    transaction(one, "committed", [b"important", b"other", b"\xff"]).commit_transaction(30)
    transaction(one, "aborted", [b"important", b"important"]).abort_transaction(30)
    one.stream("run")
    (account,) = (account for account in one.ledger[0].accounts if account.partition == 0)
    assert (account.kept, account.filtered, account.quarantined, account.gaps) == (1, 1, 1, 4)
    assert broken(one.verify()) == {}


def test_records_behind_an_open_transaction_are_not_green(new_slice: Callable[..., Slice]) -> None:
    """The stream says that the batch is not published and why.

    Once the transaction ends, the retry is green.
    """
    one = new_slice()
    open_one = transaction(one, "open", [b"important"])
    with pytest.raises(OpenTransactionError, check=Code.TRANSACTION_OPEN.fits):
        one.ingest("run", records=100)
    report = one.verify("meanwhile")
    assert broken(report) == {}
    assert [account.state for account in report.receipts] == ["pending"]
    open_one.commit_transaction(30)
    one.stream("run")
    report = one.verify()
    assert broken(report) == {}
    assert [(account.run, account.state) for account in report.receipts] == [("run", "verified")]


def test_what_an_open_transaction_hides_is_named(
    new_slice: Callable[..., Slice], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records that others were told are written lie behind it.

    The report and `topics describe` say from where on, and how many.
    """
    one = new_slice()
    one.write([(b"k", b"important")] * 10, partition=0)
    open_one = transaction(one, "hanging", [b"important"])
    one.write([(b"k", b"important")] * 500, partition=0)
    one.stream("run")
    report = one.verify()
    assert broken(report) == {}
    (row,) = report.waiting.partitions
    assert row.hidden is not None
    assert (row.hidden.stable_offset, row.hidden.offsets, row.hidden.hanging) == (10, 501, False)
    monkeypatch.setattr("headrace.cli.topics.kafka_config", lambda _: {"bootstrap.servers": one.servers})
    topics.describe(one.topic)
    told = capsys.readouterr().out
    assert "partition 0: first offset 0, next offset 511" in told
    assert "what lies before offset 10: an open transaction" in told
    assert "hides 501 offsets" in told
    open_one.abort_transaction(30)


def test_a_transaction_of_replayed_records_does_not_hang(new_slice: Callable[..., Slice]) -> None:
    """Their timestamps are old, their transaction is young.

    Its coordinator knows it, and nothing says to abort it.
    """
    one = new_slice()
    one.write([(b"k", b"important")] * 10, partition=0)
    began = datetime.now(UTC) - timedelta(minutes=1)
    replaying = transaction(one, "replaying", [b"important"], timestamp=1_700_000_000_000)
    one.stream("run")
    (row,) = one.verify().waiting.partitions
    assert row.hidden is not None
    assert row.hidden.began_at is not None
    assert row.hidden.began_at > began, "by its coordinator"
    assert (row.hidden.hanging, row.hidden.abort) == (False, None)
    replaying.commit_transaction(30)
    assert one.kafka.transaction_start(TopicPartition(one.topic, 0), 10) is None, "it has ended"


def test_a_long_aborted_transaction_is_passed_over(
    new_slice: Callable[..., Slice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client passes over its records in silence, for longer than a broker has time to answer."""
    one = new_slice()
    transaction(one, "long", [bytes(200_000)] * 300).abort_transaction(30)
    one.write([(b"k", b"important")], partition=0)
    one.stream("run")
    read = Kafka.read

    def impatiently(self: Kafka, offset_range: OffsetRange, *, committed: bool = True) -> Iterator[Block]:
        with patch.object(self, "timeout", 0.05):
            yield from read(self, offset_range, committed=committed)

    monkeypatch.setattr(Kafka, "read", impatiently)
    assert broken(one.verify()) == {}


def test_a_batch_is_resumed_behind_an_open_transaction(new_slice: Callable[..., Slice]) -> None:
    """What landed behind somebody's open transaction is not sent again."""
    one = new_slice()
    other = transaction(one, "in-front", [b"important"])
    receipt = one.produce("run", records=100)
    path = one.folder.receipt("run")
    documents.write(
        path,
        msgspec.structs.replace(
            receipt, landings=[], state=ReceiptState.OPEN, digest=None, completed_at=None
        ),
    )
    assert one.produce("run", records=100).landings == receipt.landings
    other.abort_transaction(30)
    one.stream("run")
    assert broken(one.verify()) == {}
