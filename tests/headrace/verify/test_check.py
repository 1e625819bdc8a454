"""What verify must never miss, and must never be wrong about, on ledgers made without Kafka and Spark."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace import documents, schemas
from headrace.cli import pipelines
from headrace.errors import Code, LedgerError, RefusedError, UnavailableError
from headrace.ledger.entries import entries, newest_link
from headrace.ledger.guard import check_checkpoint, check_topics, joined
from headrace.ledger.identity import read_identity
from headrace.ledger.opening import check_receipts
from headrace.ledger.progress import completed_receipts, read_verified
from headrace.ledger.receipts import key_prefix
from headrace.verify import engine
from headrace.verify.checks.files import check_folder
from headrace.verify.per_minute import extend
from headrace.verify.scope import Scope, since_verified
from ledgers import Ledger, Record, batch, cluster, forged, others


def make(base: Path, *cuts: int) -> Ledger:
    """Thirty records of somebody, published up to the cuts."""
    return Ledger.made(base, others(30), cuts)


def test_an_untouched_ledger_is_green(tmp_path: Path) -> None:
    """Nothing is found, whatever the scope."""
    one = make(tmp_path, 10, 20, 30)
    assert one.verify() == {}
    assert one.verify(one.everything) == {}
    assert read_verified(one.folder).until == 2


def test_documents_on_disk_are_as_their_schemas_say(tmp_path: Path) -> None:
    """What programs of others read is held against `docs/schemas`, by a library of its own."""
    one = Ledger.made(tmp_path, [*batch("run", 10), *others(20)], [10, 30])
    one.receipt("run", 0, 9)
    assert one.verify() == {}
    one.tamper(1, forged)
    assert "I8" in one.verify(one.everything)
    root = one.folder.root
    written = {
        "entry": [*root.glob("events/*/_entry.json")],
        "identity": [one.folder.identity],
        "receipt": [*root.glob("receipts/**/*.json")],
        "report": [*root.glob("reports/*/report.json")],
        "started": [one.folder.started],
        "streamed": [one.folder.streamed],
        "verified": [one.folder.verified],
    }
    assert {f"{name}.schema.json" for name in written} == schemas.schemas().keys()
    for name, paths in written.items():
        schema = json.loads((schemas.FOLDER / f"{name}.schema.json").read_text())
        assert paths
        for path in paths:
            jsonschema.validate(json.loads(path.read_text()), schema)


def test_a_red_is_not_forgotten_after_a_green_of_something_else(tmp_path: Path) -> None:
    """A red stays in the scope until just that is green, whatever other reports say or whether they exist."""
    one = make(tmp_path, 10, 20, 30)
    assert one.verify() == {}
    one.tamper(0, forged)
    assert "I8" in one.verify(one.everything)
    assert one.verify(Scope(checkpoint="c1", micro_batches=[2], receipts=[], updates_verified=False)) == {}
    shutil.rmtree(one.folder.reports)
    assert since_verified(one.folder).micro_batches == [0]
    assert "I8" in one.verify()


@pytest.mark.parametrize("micro_batch", [0, 1, 2])
def test_a_damaged_entry_is_a_finding(tmp_path: Path, micro_batch: int) -> None:
    """Verify names the file and goes on with the rest, instead of ending at the first unreadable file."""
    one = make(tmp_path, 10, 20, 30)
    (one.folder.events / f"micro_batch={micro_batch}" / "_entry.json").write_text("{")
    found = one.verify()
    assert any(f"micro_batch={micro_batch}" in message for message in found["I8"])
    assert set(found) == {"I8"}, "one cause is reported once"


def test_a_file_verified_before_must_keep_its_size(tmp_path: Path) -> None:
    """Checksums are for what is in the scope; of what was verified before, size and rows are looked at."""
    one = make(tmp_path, 10, 20)
    assert one.verify() == {}
    (path,) = (one.folder.events / "micro_batch=0").glob("*.parquet")
    pq.write_table(pq.read_table(path, partitioning=None), path, compression="none")
    assert any("bytes instead of" in message for message in one.verify()["I8"])


def test_a_red_about_a_receipt_is_not_forgotten(tmp_path: Path) -> None:
    """A receipt that was altered after it was verified is red until it is mended."""
    one = Ledger.made(tmp_path, [*batch("run", 10), *others(10)], [20])
    receipt = one.receipt("run", 0, 9)
    assert one.verify() == {}
    assert since_verified(one.folder).receipts == []
    documents.write(one.folder.receipt("run"), msgspec.structs.replace(receipt, records=11))
    assert "I1" in one.verify(one.everything)
    assert "I1" in one.verify()
    documents.write(one.folder.receipt("run"), receipt)
    assert one.verify() == {}
    assert since_verified(one.folder).receipts == []


def test_a_receipt_that_went_away_is_missed(tmp_path: Path) -> None:
    """A receipt that the scope names must be there when it is checked."""
    one = Ledger.made(tmp_path, batch("run", 10), [10])
    one.receipt("run", 0, 9)
    scope = since_verified(one.folder)
    one.folder.receipt("run").unlink()
    assert "I1" in one.verify(scope)


def test_a_red_that_aged_out_is_unverifiable(tmp_path: Path) -> None:
    """A red does not become green because Kafka has removed the records that would prove it."""
    one = make(tmp_path, 10, 20)
    assert one.verify() == {}
    one.tamper(0, forged, sign=True)
    assert "I4" in one.verify(one.everything)
    one.kafka.first = 10
    assert "I7" in one.verify()
    assert "I7" in one.verify()


def test_what_aged_out_after_it_was_verified_is_green(tmp_path: Path) -> None:
    """A micro-batch that has aged out in part does not hide the batch in the rest of it."""
    one = Ledger.made(tmp_path, [*others(10), *batch("run", 10)], [20])
    one.receipt("run", 10, 19, start=10)
    assert one.verify() == {}
    one.kafka.first = 5
    assert one.verify(one.everything) == {}


def test_a_batch_before_the_start_is_red(tmp_path: Path) -> None:
    """Records that lie before the offset where the pipeline starts are published by nobody."""
    one = Ledger.made(tmp_path, [*batch("run", 10), *others(10)], [20], start=10)
    one.receipt("run", 0, 9)
    assert "I1" in one.verify()
    one.folder.streamed.unlink()
    with pytest.raises(LedgerError, check=Code.BEFORE_START.fits) as raised:
        check_receipts(one.folder, one.kafka, completed_receipts(one.folder))
    assert (raised.value.partition, raised.value.offset) == (0, 0)


def test_compaction_is_red_and_refused(tmp_path: Path) -> None:
    """A topic from which Kafka removes records by key can't be accounted for, whoever set it so and when."""
    one = make(tmp_path, 10)
    one.kafka.config["cleanup.policy"] = "compact,delete"
    assert "I6" in one.verify()
    identity = read_identity(one.folder)
    assert identity is not None
    with pytest.raises(RefusedError, check=Code.TOPIC_COMPACTED.fits):
        check_topics(one.folder, identity, newest_link(one.folder), cluster({0: 0}, {0: 30}, compacted=["t"]))


def test_a_quarantine_folder_of_a_far_micro_batch_is_red(tmp_path: Path) -> None:
    """Only the next micro-batch may have its quarantine before its entry, while a stream works on it."""
    one = make(tmp_path, 10, 20)
    shutil.copytree(one.folder.quarantine / "micro_batch=0", one.folder.quarantine / "micro_batch=2")
    without_entry = one.folder.events / "micro_batch=2"
    with one.folder.locked("a stream"):
        assert one.verify() == {}
        without_entry.mkdir()
        (without_entry / "part-0.parquet").touch()
        assert "I8" in one.verify()
    shutil.rmtree(without_entry)
    (finding,) = one.verify()["I8"]
    assert "running the ingest again removes it" in finding
    (one.folder.quarantine / "micro_batch=2").rename(one.folder.quarantine / "micro_batch=999")
    assert "I8" in one.verify(one.everything)


def nameless(column: str) -> Callable[[pa.Table], pa.Table]:
    """A change that puts null into the first row of a column."""

    def change(table: pa.Table) -> pa.Table:
        index = table.column_names.index(column)
        values = [None, *table.column(index).to_pylist()[1:]]
        return table.set_column(index, column, pa.array(values, table.schema.field(index).type))

    return change


def doubled(column: str) -> Callable[[pa.Table], pa.Table]:
    """A change that adds a row whose column is null."""
    return lambda table: pa.concat_tables([table, nameless(column)(table.slice(0, 1))])


@pytest.mark.parametrize("column", ["_topic", "_partition", "_offset"])
def test_a_row_without_a_whole_position_is_red(tmp_path: Path, column: str) -> None:
    """Null compares to nothing, and is noticed all the same."""
    one = make(tmp_path, 10)
    one.tamper(0, doubled(column), sign=True)
    assert "I4" in one.verify()


def test_a_quarantined_record_without_a_reason_is_red(tmp_path: Path) -> None:
    """It is told, and the report can be written."""
    one = make(tmp_path, 10)
    one.tamper(0, nameless("reason"), "quarantine", sign=True)
    assert "I7" in one.verify()


def test_a_partition_that_joined_before_a_failed_stream_is_no_hole(tmp_path: Path) -> None:
    """A stream may be killed after a new partition was noted and before its first micro-batch.

    The next one goes on.
    """
    one = make(tmp_path, 10, 20)
    identity = read_identity(one.folder)
    assert identity is not None
    documents.write(one.folder.identity, joined(identity, cluster({0: 0, 1: 0}, {0: 30, 1: 0})))
    check_checkpoint(one.folder, read_identity(one.folder), newest_link(one.folder))
    one.kafka.partitions = 2
    assert one.verify() == {}


def test_a_publish_while_verify_looks_is_green(tmp_path: Path) -> None:
    """A micro-batch that is committed after the ledger was read is the next run's."""
    one = make(tmp_path, 10)
    verification = one.verification(one.everything)
    one.publish(1, 10, 20)
    assert verification.run("verify").state == "green"


def test_an_entry_of_another_checkpoint_is_red_and_refused(tmp_path: Path) -> None:
    """An entry says which checkpoint planned it."""
    one = make(tmp_path, 10)
    entry = one.folder.events / "micro_batch=0" / "_entry.json"
    documents.write(entry, msgspec.structs.replace(entries(one.folder)[0], checkpoint="other"))
    assert "I5" in one.verify()
    with pytest.raises(LedgerError, check=Code.CHECKPOINT_OTHER.fits):
        check_checkpoint(one.folder, read_identity(one.folder), newest_link(one.folder))


def test_the_same_run_id_in_two_pipelines_makes_different_keys(tmp_path: Path) -> None:
    """Scheduled runs of two pipelines that share a topic have the same id."""
    assert key_prefix("p", "scheduled") != key_prefix("q", "scheduled")
    one = Ledger.made(tmp_path, [*batch("scheduled", 10), *batch("scheduled", 10, pipeline="q")], [20])
    one.receipt("scheduled", 0, 9)
    assert one.verify() == {}


def test_a_batch_sent_again_after_a_reset_is_green(tmp_path: Path) -> None:
    """Copies of before the receipt's start belong to the ledger that was moved aside."""
    one = Ledger.made(tmp_path, [*batch("run", 10), *batch("run", 10)], [20])
    one.receipt("run", 10, 19, start=10)
    assert one.verify() == {}


def test_more_findings_than_are_told_are_remembered(tmp_path: Path) -> None:
    """Every micro-batch with a finding is looked at again, not only those that the report has room for."""
    one = Ledger.made(tmp_path, others(300), range(10, 301, 10))
    assert one.verify() == {}
    for number in range(30):
        one.tamper(number, forged)
    one.verify(one.everything)
    assert sorted(read_verified(one.folder).recheck) == list(range(30))


def test_a_file_that_went_away_while_it_was_checked_is_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is gone only when its rows are compared is told as well."""
    one = make(tmp_path, 10)
    (path,) = (one.folder.events / "micro_batch=0").glob("*.parquet")

    def checked(*arguments: Any, whole: bool) -> None:
        check_folder(*arguments, whole=whole)
        path.unlink()

    monkeypatch.setattr("headrace.verify.checks.files.check_folder", checked)
    assert "I8" in one.verify()


def minutes(one: Ledger) -> dict[str, int]:
    """What `kept_per_minute.parquet` says of the topic."""
    return {
        row["minute"].isoformat(): row["kept"]
        for row in pq.read_table(one.folder.kept_per_minute).to_pylist()
        if row["_topic"] == "t"
    }


def test_kept_per_minute_counts_proven_records(tmp_path: Path) -> None:
    """One row per topic and minute; what is not proven yet is not counted, and comes in once it is."""
    one = make(tmp_path, 10, 20)
    one.verify(Scope(checkpoint="c1", micro_batches=[0], receipts=[], updates_verified=True))
    extend(one.folder, read_verified(one.folder))
    assert minutes(one) == {"1970-01-01T00:00:00+00:00": 4}
    one.tamper(1, forged)
    one.publish(2, 20, 30)
    one.verify()
    extend(one.folder, read_verified(one.folder))
    assert minutes(one) == {"1970-01-01T00:00:00+00:00": 4 + 4}


def test_kept_per_minute_reads_only_what_is_new(tmp_path: Path) -> None:
    """The files of what it counts already may be anywhere; made again, it needs all of them."""
    one = make(tmp_path, 10)
    assert one.verify() == {}
    extend(one.folder, read_verified(one.folder))
    one.publish(1, 10, 20)
    assert one.verify() == {}
    aside = next(one.folder.events.glob("micro_batch=0/*.parquet")).rename(tmp_path / "aside")
    extend(one.folder, read_verified(one.folder))
    whole = minutes(one)
    one.folder.kept_per_minute.unlink()
    with pytest.raises(LedgerError, check=Code.FILE_GONE.fits):
        extend(one.folder, read_verified(one.folder))
    aside.rename(one.folder.events / "micro_batch=0" / "part-0.parquet")
    extend(one.folder, read_verified(one.folder))
    assert minutes(one) == whole


def test_kept_per_minute_that_can_not_be_written_can_be_tried_again(tmp_path: Path) -> None:
    """As where the disk is full."""
    one = make(tmp_path, 10, 20)
    assert one.verify() == {}
    next(one.folder.events.glob("micro_batch=0/*.parquet")).write_bytes(b"")
    with pytest.raises(UnavailableError, check=Code.UNWRITTEN.fits):
        extend(one.folder, read_verified(one.folder))


def test_a_pipeline_file_is_held_against_what_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is sent."""
    one = make(tmp_path, 10)
    monkeypatch.setenv("HEADRACE_DAGS", str(one.pipeline.path.parent))
    monkeypatch.setenv("HEADRACE_DATA", str(one.folder.root.parent))
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("headrace.kafka.client.Kafka.describe", lambda *_: one.kafka.describe(["t"]))
    monkeypatch.setattr("headrace.ledger.opening.check_can_start", lambda *_: [])
    pipelines.check("p")
    assert "keeps     contains(value, 'important')" in capsys.readouterr().out
    text = one.pipeline.path.read_text()
    one.pipeline.path.write_text(
        text.replace('format = "text"', 'format = "json"\nfields = {value = "string"}')
    )
    with pytest.raises(RefusedError, check=Code.FIELDS_CHANGED.fits):
        pipelines.check("p")
    one.pipeline.path.write_text(text.replace('"t"', '"other"'))
    with pytest.raises(RefusedError, check=Code.TOPIC_DROPPED.fits):
        pipelines.check("p")


def test_a_scope_that_does_not_move_settles_only_what_it_covers(tmp_path: Path) -> None:
    """Green of one run takes that run's micro-batches off the list, and leaves the mark where it is."""
    one = make(tmp_path, 10, 20)
    assert one.verify() == {}
    content = {path: path.read_bytes() for path in one.folder.events.glob("micro_batch=[01]/*.parquet")}
    for number in (0, 1):
        one.tamper(number, forged)
    one.verify(one.everything)
    for path, written in content.items():
        path.write_bytes(written)
    assert one.verify(Scope(checkpoint="c1", micro_batches=[1], receipts=[], updates_verified=False)) == {}
    assert list(read_verified(one.folder).recheck) == [0]


def test_rows_that_do_not_fit_into_memory_are_read_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file may hold few rows of many megabytes each, and a database reads two thousand at once.

    What is wrong with one is found, too.
    """
    monkeypatch.setattr(engine, "MEMORY", "80MB")
    records: list[Record] = [(b"k", b"important " + b"%02d" % number * 3_000_000) for number in range(24)]
    one = Ledger.made(tmp_path, [*records, (b"k", None), *others(3)], [len(records) + 4])
    one.kafka.block = 2
    taken: list[str] = []
    in_turn = engine.view_in_turn

    def watched(database: duckdb.DuckDBPyConnection, name: str, *rest: Any) -> Any:
        taken.append(name)
        return in_turn(database, name, *rest)

    monkeypatch.setattr(engine, "view_in_turn", watched)
    assert one.verify() == {}
    assert set(taken) == {"in_turn", "rows"}
    sample = next(iter(one.look(one.everything).samples))
    assert str(sample.values["value"]).startswith("important 0000")
    one.kafka.records = [*records[:4], (b"k", b"important " + b"x" * 3_000_000), *one.kafka.records[5:]]
    assert one.verify(one.everything) == {"I4": ["1 record not as the broker has it in value (offset 4)"]}
