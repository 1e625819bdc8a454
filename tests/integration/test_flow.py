"""The flow as it is meant to go."""

import hashlib
import logging
import re
import time
from collections.abc import Callable
from typing import Any

import duckdb
import pytest

from headrace import progress
from headrace.kafka.offsets import OffsetRange
from producers.samples import payload
from readers import READERS
from slices import JSON, Slice, broken
from spark_apps.publisher import plan


def test_a_batch_is_accounted_for(new_slice: Callable[..., Slice]) -> None:
    """A batch with malformed records ends green, every offset accounted for."""
    one = new_slice()
    receipt = one.ingest("first", records=300, malformed=0.1)
    report = one.verify()
    assert broken(report) == {}
    assert sum(balance.until_offset - balance.from_offset for balance in report.balance) == 300
    assert [(account.run, account.state, account.landed) for account in report.receipts] == [
        ("first", "verified", 300)
    ]
    assert sum(reason.count for reason in report.quarantine) == one.ledger[0].total("quarantined") > 0
    assert receipt.digest


def test_a_stream_says_how_far_it_is(
    new_slice: Callable[..., Slice], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """From where to where it reads, which includes a question to Spark."""
    monkeypatch.setattr(progress, "EVERY", 0.01)
    caplog.set_level(logging.INFO, "headrace")
    new_slice().ingest("first", records=300)
    line = re.compile(r"micro-batch 0: reading 300 offsets \(\S+-0 0 to \d+(, .*)?\)(; at least .*)?")
    assert any(map(line.fullmatch, caplog.messages)), caplog.messages


def test_a_second_run_picks_up_where_the_first_ended(new_slice: Callable[..., Slice]) -> None:
    """Only what is new is published and verified by the second run."""
    one = new_slice()
    one.ingest("first")
    assert broken(one.verify("verify-1")) == {}
    one.ingest("second", records=100)
    report = one.verify("verify-2")
    assert broken(report) == {}
    assert [each.id for each in report.micro_batches] == [1]
    assert [account.run for account in report.receipts] == ["second"]
    assert report.ever.micro_batches == 2


def test_an_empty_run_is_green(new_slice: Callable[..., Slice]) -> None:
    """A batch of no records publishes nothing, and readers find the columns nevertheless."""
    one = new_slice()
    one.ingest("empty", records=0)
    report = one.verify()
    assert broken(report) == {}
    assert [entry.accounts for entry in one.ledger] == [[]]
    assert list(one.folder.events.glob("**/*.parquet"))


def test_json_with_every_kind_of_malformed_record(new_slice: Callable[..., Slice]) -> None:
    """Two topics, all reasons in the quarantine, every row equal for both engines."""
    one = new_slice(JSON)
    one.ingest("json", records=600, malformed=0.5)
    report = one.verify()
    assert broken(report) == {}
    # Fmt: skip.
    assert {reason.reason for reason in report.quarantine} == {
        "null_value",
        "empty_value",
        "not_utf8",
        "not_json",
        "not_object",
        "wrong_type",
        "missing_field",
    }


def test_large_files_are_split(new_slice: Callable[..., Slice], monkeypatch: pytest.MonkeyPatch) -> None:
    """By what rows took up before.

    A tenth of the last file's size makes about ten files, and all of them are accounted for.
    """
    one = new_slice(JSON)
    one.ingest("first", records=500, malformed=0.1)
    (file,) = one.ledger[0].events
    monkeypatch.setattr("spark_apps.publisher.FILE_BYTES", file.bytes // 10)
    one.ingest("second", records=500, malformed=0.1, seed=2)
    assert broken(one.verify()) == {}
    assert len(one.ledger[1].events) >= 9
    assert len(one.ledger[1].quarantine) > 1


def test_nothing_kept_is_published_and_green(new_slice: Callable[..., Slice]) -> None:
    """A micro-batch of unusable records is an entry, and the readers see no rows."""
    one = new_slice()
    one.produce("none", records=0)
    one.write([(None, None)] * 20)
    one.stream("none")
    assert broken(one.verify()) == {}
    assert one.ledger[0].total("quarantined") == 20
    for read in READERS.values():
        assert read(one.folder.events) == []


def test_readers_agree(new_slice: Callable[..., Slice]) -> None:
    """DuckDB, Polars, pandas, pyarrow and Spark see the same rows over several micro-batches."""
    one = new_slice(JSON)
    for number in range(3):
        one.ingest(f"run-{number}", records=100, malformed=0.1)
    rows = {name: sorted(read(one.folder.events)) for name, read in READERS.items()}
    assert len(rows["duckdb"]) == sum(entry.total("kept") for entry in one.ledger) > 0
    assert all(those == rows["duckdb"] for those in rows.values())


def test_producers_from_outside_write_before_during_and_after(
    new_slice: Callable[..., Slice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Foreign offsets lie inside the receipt's range; what comes after planning is in the next run."""
    one = new_slice()
    one.write([(b"before", b"important")] * 5)

    before = one.kafka.end([one.topic]).by_topic()[one.topic]

    def interrupted(*arguments: Any, **named: Any) -> bytes | None:
        if arguments[3] == 150:
            deadline = time.monotonic() + 30
            while any(
                end <= before[partition]
                for partition, end in one.kafka.end([one.topic]).by_topic()[one.topic].items()
            ):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            for partition in before:
                one.write([(b"during", b"important")] * 3, partition=partition)
        return payload(*arguments, **named)

    monkeypatch.setattr("producers.batch.payload", interrupted)
    receipt = one.produce("run", records=300)
    inside = [
        landing.highest_offset - landing.lowest_offset + 1 - landing.count for landing in receipt.landings
    ]
    assert inside == [3, 3, 3]

    def late(*arguments: Any) -> Any:
        one.write([(b"late", b"important")] * 7)
        return plan(*arguments)

    monkeypatch.setattr("spark_apps.publisher.plan", late)
    one.stream("run")
    monkeypatch.setattr("spark_apps.publisher.plan", plan)
    assert broken(one.verify("first")) == {}
    one.stream("next")
    assert broken(one.verify("second")) == {}
    assert one.ledger[-1].total("kept") == 7


def test_the_quarantine_holds_exactly_the_malformed_records(new_slice: Callable[..., Slice]) -> None:
    """Compared by key with a list derived here from the seed alone.

    The one record of 900 KB is valid, whatever its draw.
    """
    one = new_slice()
    records, share, seed = 500, 0.25, 77
    one.ingest("run", records=records, malformed=share, seed=seed)
    prefix = hashlib.sha256(b"slice\0run").hexdigest()[:12]
    malformed = set()
    for block in range(2):
        drawn = hashlib.shake_128(f"{seed}:{block}".encode()).digest(256 * 24)
        for number in range(256 * block, min(256 * (block + 1), records)):
            draw = int.from_bytes(drawn[24 * (number % 256) :][:8], "big")
            if draw < share * 2**64 and number != records // 2:
                malformed.add(f"{prefix}-{number:010}".encode())
    found = duckdb.connect().execute(f"SELECT _key FROM '{one.folder.quarantine}/**/*.parquet'").fetchall()
    assert sorted(key for (key,) in found) == sorted(malformed)
    assert len(one_large(one)) > 900_000


def one_large(one: Slice) -> bytes:
    """The value of the topic's largest record."""
    end = one.kafka.end([one.topic]).by_topic()[one.topic]
    blocks = (
        block
        for partition, until in end.items()
        for block in one.kafka.read(OffsetRange(one.topic, partition, 0, until))
    )
    return max((value for block in blocks for value in block.values if value), key=len)


def test_a_moment_before_1970_is_null_for_both_engines(new_slice: Callable[..., Slice]) -> None:
    """The first moment of the year 1, some clients' "none", is on another day in Spark's calendar."""
    one = new_slice()
    one.write([(b"k", b"important"), (b"k", b"\xff")], timestamp=-62_135_596_800_000)
    one.write([(b"k", b"important")], timestamp=1)
    one.stream("run")
    report = one.verify()
    assert broken(report) == {}
    found = (
        duckdb.connect()
        .execute(f"SELECT epoch_ms(_timestamp) FROM '{one.folder.events}/**/*.parquet' ORDER BY 1")
        .fetchall()
    )
    assert found == [(1,), (None,)]
    assert len(report.samples) == 2


def test_an_unusable_record_is_kept_whole(new_slice: Callable[..., Slice]) -> None:
    """Key, value and headers come through as bytes, with empty, null and repeated headers."""
    one = new_slice()
    headers = [("trace", b"\xff\x00"), ("trace", b""), ("empty", None)]
    one.write([(b"\x00key", b"\xff\xfe"), (None, None), (b"", b"important")], headers=headers)
    one.write([(b"bare", b"\xff")])
    one.stream("run")
    assert broken(one.verify()) == {}
    rows = (
        duckdb.connect()
        .execute(f"SELECT _key, _value, _headers, reason FROM '{one.folder.quarantine}/**/*.parquet'")
        .fetchall()
    )
    told = [{"key": key, "value": value} for key, value in headers]
    assert sorted(rows, key=str) == sorted(
        [
            (b"\x00key", b"\xff\xfe", told, "not_utf8"),
            (None, None, told, "null_value"),
            (b"bare", b"\xff", None, "not_utf8"),
        ],
        key=str,
    )
