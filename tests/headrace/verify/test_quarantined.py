"""Samples of quarantined records, for the page."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.verify import quarantined
from headrace.verify.quarantined import Unusable
from headrace.verify.stored import PAGE
from ledgers import Ledger, others

Row = tuple[bytes | None, str, str | None]
"""Value, reason and field."""

HOSTILE = [
    b"<script>alert(1)</script>",
    b"\x00\xff\xfe",
    "\u202egnp.exe".encode(),
    b'"><img src=x onerror=alert(1)>',
    b"two\nlines\x1b[31m",
    b"z" * 5_000_000,
    "\u20ac".encode() * 5_000,
]


@pytest.fixture
def one(tmp_path: Path) -> Ledger:
    """Two micro-batches with ten quarantined records each."""
    return Ledger.made(tmp_path, others(200), [100, 200])


def quarantine(one: Ledger, number: int, rows: Sequence[Row]) -> None:
    """Let a micro-batch have quarantined these records.

    The entry is signed, so that only their payload is not what the broker holds.
    """

    def change(table: pa.Table) -> pa.Table:
        table = (
            table.slice(0, len(rows))
            if len(rows) <= len(table)
            else pa.concat_tables([table] * -(-len(rows) // len(table)))[: len(rows)]
        )
        for name, column in zip(("_value", "reason", "field"), zip(*rows, strict=True), strict=True):
            place = table.column_names.index(name)
            table = table.set_column(place, name, pa.array(column, table.schema.field(name).type))
        return table

    one.tamper(number, change, "quarantine", sign=True)


def samples(one: Ledger) -> list[Unusable]:
    """What the page of a run over everything would show."""
    return quarantined.samples(one.folder, one.look(one.everything))


def test_each_reason_and_field_has_a_sample_before_any_has_a_second(one: Ledger) -> None:
    """A rare reason is what the reader looks for: a frequent one does not crowd it out, nor fill the page."""
    frequent: list[Row] = [(b"{}", "missing_field", "id")] * 900
    quarantine(one, 0, [*frequent, (b'{"id":1}', "wrong_type", "id"), (b"[]", "not_object", None)])
    quarantine(one, 1, [(b"\xff", "not_utf8", None)] * 10)
    found = samples(one)
    assert [(each.value, each.field) for each in found if each.reason in {"wrong_type", "not_object"}] == [
        ("[]", None),
        ('{"id":1}', "id"),
    ]
    assert Counter(each.reason for each in found) == {
        "missing_field": 5,
        "wrong_type": 1,
        "not_object": 1,
        "not_utf8": 5,
    }
    quarantine(one, 0, [(b"{}", "missing_field", f"field {number}") for number in range(100)])
    assert len({each.field for each in samples(one)}) == quarantined.SAMPLES


def test_a_run_that_is_red_has_samples_too_as_far_as_files_can_be_read(one: Ledger) -> None:
    """A file that is damaged or gone is passed over.

    Samples say nothing about whether files are as published.
    """
    (damaged,) = (one.folder.quarantine / "micro_batch=0").glob("*.parquet")
    damaged.write_bytes(damaged.read_bytes()[:-200])
    assert set(one.verify(one.everything)) == {"I8"}
    assert (one.folder.report("verify-1") / PAGE).read_text().count("null_value") == 1 + 5
    (gone,) = (one.folder.quarantine / "micro_batch=1").glob("*.parquet")
    gone.unlink()
    assert samples(one) == []


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value[:10]))
def test_only_the_page_shows_a_payload(one: Ledger, value: bytes) -> None:
    """As text that can do nothing, and cut.

    Neither report.json nor the exception that ends a red run has it.
    """
    quarantine(one, 0, [(value, "wrong_type", "amount")] * 10)
    one.verify(one.everything)
    place = one.folder.report("verify-1")
    page = (place / PAGE).read_text()
    assert len(page) < 100_000
    assert not [part for part in ("<script", "<img", "\x00", "\x1b", "\u202e") if part in page]
    (shown,) = {each.value or "" for each in samples(one) if each.reason == "wrong_type"}
    assert shown.endswith(f"… ({len(value):,} bytes)") is (len(value) > quarantined.VALUE_BYTES)
    assert json.dumps(shown[:10])[1:-1] not in (place / "report.json").read_text()


def test_samples_of_millions_of_records_and_of_large_ones_are_found_at_once(
    one: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are looked for at a file's beginning.

    How many more there are, or how large they are, makes no difference.
    """
    report = one.look(one.everything)
    monkeypatch.setattr(quarantined, "has_columns", lambda *_: True)
    monkeypatch.setattr(quarantined, "SAMPLES_OF_EACH", 100)
    (path,) = (one.folder.quarantine / "micro_batch=1").glob("*.parquet")
    table = pq.read_table(path, partitioning=None).slice(0, 1)
    large = table.set_column(table.column_names.index("_value"), "_value", pa.array([os.urandom(2_000_000)]))
    pq.write_table(
        pa.concat_tables([large] * 40), path, use_dictionary=False, write_batch_size=1, data_page_size=1 << 20
    )
    found = quarantined.samples(one.folder, report)
    assert [(each.value or "").rpartition("… ")[2] for each in found if each.value] == [
        "(2,000,000 bytes)"
    ] * 7
