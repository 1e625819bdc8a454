"""What verify remembers from one run to the next, and what may have happened in between.

Restores, resets, retries, repairs, lost records.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from headrace import documents
from headrace.errors import (
    BrokenInvariantError,
    Code,
    LedgerError,
    OpenTransactionError,
    OutdatedError,
    RefusedError,
    UsageError,
)
from headrace.kafka.cluster import Block
from headrace.kafka.offsets import OffsetRange, Offsets, TopicPartition
from headrace.kafka.record_batch import RecordBatch
from headrace.ledger.entries import entries, newest_link
from headrace.ledger.folder import ENTRY
from headrace.ledger.identity import read_identity
from headrace.ledger.opening import check_last_records, check_receipts, open_ledger
from headrace.ledger.progress import completed_receipts, read_verified, roll_back
from headrace.ledger.publish import EMPTY
from headrace.ledger.receipts import Receipt, ReceiptState
from headrace.report import wording
from headrace.report.conclusion import conclude
from headrace.verify.scope import Scope, of_run, since_verified
from headrace.verify.stored import find
from ledgers import GAP, MOMENT, PLACE, FakeKafka, Ledger, batch, cluster, forged, others

THERE = cluster({0: 0}, {0: 15})


def test_a_batch_that_was_finished_after_a_part_of_it_was_verified_is_green(tmp_path: Path) -> None:
    """A producer broke off, what had landed was published and verified, and a retry sent the rest."""
    one = Ledger.made(tmp_path, batch("run", 20), [10])
    assert one.verify() == {}
    one.publish(1, 10, 20)
    one.receipt("run", 0, 19)
    assert since_verified(one.folder).micro_batches == [1]
    assert one.verify() == {}


def test_what_is_published_anew_after_a_restore_is_verified_anew(tmp_path: Path) -> None:
    """Ledger and checkpoint of an older point in time.

    Until the next stream that is red, and then nothing new is passed over.
    """
    one = Ledger.made(tmp_path, others(40), [10])
    assert one.verify() == {}
    before = one.copied(tmp_path / "before")
    one.publish(1, 10, 20)
    one.publish(2, 20, 30)
    assert one.verify() == {}
    one.rolled_back(before)
    assert "I5" in one.verify()
    roll_back(one.folder, newest_link(one.folder))
    assert one.verify() == {}
    one.publish(1, 10, 20)
    one.tamper(1, forged, sign=True)
    assert "I4" in one.verify()


def test_nothing_is_verified_on_another_checkpoint(tmp_path: Path) -> None:
    """Removing events, checkpoint and identity by hand starts over, whatever `verified.json` says."""
    one = Ledger.made(tmp_path, others(40), [10, 20, 30])
    assert one.verify() == {}
    other = Ledger.made(tmp_path / "other", others(40), [10])
    one.rolled_back(other)
    identity = read_identity(one.folder)
    assert identity is not None
    documents.write(one.folder.identity, msgspec.structs.replace(identity, checkpoint="c2"))
    assert since_verified(one.folder).micro_batches == [0]


def test_an_entry_changed_after_it_was_verified_is_red(tmp_path: Path) -> None:
    """Entries are final: also one that balances and that no run would look at again."""
    one = Ledger.made(tmp_path, others(40), [10, 20])
    assert one.verify() == {}
    entry = one.folder.events / "micro_batch=0" / "_entry.json"
    documents.write(entry, msgspec.structs.replace(entries(one.folder)[0], run="another"))
    assert "I5" in one.verify()


def test_an_older_green_does_not_settle_a_newer_red(tmp_path: Path) -> None:
    """The report task of a run that was green may be cleared after another run was red."""
    one = Ledger.made(tmp_path, others(30), [10, 20])
    scope = since_verified(one.folder)
    old = one.look(scope)
    assert one.conclude(old, scope) == {}
    one.tamper(0, forged)
    assert "I8" in one.verify(one.everything)
    with pytest.raises(BrokenInvariantError, check=Code.NEWER_RED.fits):
        conclude(one.folder, one.pipeline, scope, old)
    assert 0 in read_verified(one.folder).recheck
    assert "I8" in one.verify()


def test_an_old_red_told_again_does_not_undo_what_was_mended(tmp_path: Path) -> None:
    """Its report task may be cleared long after, when nobody could prove anything anew."""
    one = Ledger.made(tmp_path, others(30), [10, 20])
    (path,) = (one.folder.events / "micro_batch=0").glob("*.parquet")
    content = path.read_bytes()
    one.tamper(0, forged)
    scope = since_verified(one.folder)
    old = one.look(scope)
    assert "I8" in one.conclude(old, scope)
    path.write_bytes(content)
    assert one.verify() == {}
    one.kafka.first = 20
    assert "I8" in one.conclude(old, scope)
    assert read_verified(one.folder).recheck == {}
    assert one.verify() == {}


def test_a_page_is_there_once_its_outcome_stands(tmp_path: Path) -> None:
    """One that says green is of a run that was not taken back."""
    one = Ledger.made(tmp_path, others(30), [10])
    scope = since_verified(one.folder)
    report = one.look(scope)
    page = one.folder.report(report.run) / "report.html"
    entry = one.folder.published(one.folder.events, 0) / ENTRY
    content = entry.read_bytes()
    entry.write_bytes(content + b" ")
    with pytest.raises(LedgerError, check=Code.CHANGED_SINCE.fits):
        one.conclude(report, scope)
    assert not page.exists()
    entry.write_bytes(content)
    assert one.conclude(report, scope) == {}
    assert page.exists()


def test_what_was_verified_and_aged_out_is_told_apart(tmp_path: Path) -> None:
    """Green rests on an earlier read there, and the report says so."""
    one = Ledger.made(tmp_path, [*batch("run", 10), *others(20)], [10, 20])
    one.receipt("run", 0, 9)
    assert one.verify() == {}
    one.kafka.first = 10
    report = one.look(one.everything)
    assert one.conclude(report, one.everything) == {}
    assert report.aged_out == [0]
    assert [(each.run, each.state) for each in report.receipts] == [("run", "aged_out")]
    assert (
        "Kafka no longer holds all records of 1 of them, which were judged while it did."
        in wording.outcome(report).detail
    )


def test_an_entry_whose_filter_can_not_be_read_is_red(tmp_path: Path) -> None:
    """Nobody can judge by it; the report says which entry it is."""
    one = Ledger.made(tmp_path, others(30), [10])
    path = one.folder.published(one.folder.events, 0) / ENTRY
    path.write_text(path.read_text().replace("contains(", "rlike("))
    (finding,) = one.verify()["I8"]
    assert "the entry's filter can't be read" in finding


def test_before_the_first_stream_there_is_nothing_to_verify(tmp_path: Path) -> None:
    """That is neither green nor red, and says what waits.

    Remains of a ledger without its identity are red.
    """
    one = Ledger.made(tmp_path, others(30), [10])
    aside = one.folder.root.rename(tmp_path / "aside")
    outcome = wording.outcome(one.verification(one.everything).run("verify"))
    assert outcome.sentence.startswith(
        "Nothing to verify yet; up to 30 records wait in Kafka, the oldest for "
    )
    assert "the folder was moved" in outcome.detail
    shutil.copytree(aside / "checkpoint", one.folder.checkpoint)
    assert "I5" in one.verify()


def test_a_report_of_another_scope_moves_nothing(tmp_path: Path) -> None:
    """`collect` may be cleared without `check`: then the report is not about what `collect` found."""
    one = Ledger.made(tmp_path, others(30), [10])
    old = one.look()
    one.publish(1, 10, 20)
    with pytest.raises(LedgerError, check=Code.OTHER_SCOPE.fits):
        one.conclude(old, since_verified(one.folder))
    assert read_verified(one.folder).until == -1


def test_a_reset_while_verify_looks_moves_nothing(tmp_path: Path) -> None:
    """What was checked is not what is there now."""
    one = Ledger.made(tmp_path, others(30), [10])
    scope = since_verified(one.folder)
    report = one.look(scope)
    identity = read_identity(one.folder)
    assert identity is not None
    documents.write(one.folder.identity, msgspec.structs.replace(identity, checkpoint="c2"))
    with pytest.raises(LedgerError, check=Code.RESET_MEANWHILE.fits):
        one.conclude(report, scope)
    assert read_verified(one.folder).mark is None


def test_records_in_the_place_of_lost_ones_are_red_and_refused(tmp_path: Path) -> None:
    """Kafka lost the end of a partition, and somebody filled it before the next stream.

    No end offset tells.
    """
    one = Ledger.made(tmp_path, batch("a", 10), [10])
    one.receipt("a", 0, 9)
    assert one.verify() == {}
    last_records = read_verified(one.folder).last_records
    assert check_last_records(one.kafka, THERE, last_records) == []
    one.kafka.records = [*batch("a", 10)[:5], *batch("b", 10)]
    assert check_last_records(one.kafka, THERE, last_records) == last_records
    with pytest.raises(RefusedError, check=Code.PARTITION_REFILLED.fits) as raised:
        open_ledger(one.folder, one.pipeline, one.kafka)
    assert (raised.value.partition, raised.value.offset) == (0, 9)
    one.publish(1, 10, 15)
    assert "I6" in one.verify()


def test_a_last_record_that_compaction_removed_is_no_other_record(tmp_path: Path) -> None:
    """Nothing that was verified is in doubt, and the stream goes on once the topic is set back to delete.

    A marker in its place is another matter.
    """
    one = Ledger.made(tmp_path, others(15), [10])
    assert one.verify() == {}
    last_records = read_verified(one.folder).last_records
    compacted = Emptied(one.kafka.records, batches=[RecordBatch(10, 14, False, False, -1, 5, False)])
    assert check_last_records(compacted, THERE, last_records) == []
    refilled = Emptied(one.kafka.records, batches=[RecordBatch(9, 9, True, True, 7, 1, False)])
    assert check_last_records(refilled, THERE, last_records) == last_records


@dataclass
class Emptied(FakeKafka):
    """A log from which records are gone."""

    batches: Sequence[RecordBatch] = ()

    def record_batches(self, place: TopicPartition, offset: int) -> Iterator[RecordBatch]:
        """Those that are left."""
        assert place == PLACE
        return iter([batch for batch in self.batches if batch.last_offset >= offset])

    def read(self, offset_range: OffsetRange, *, committed: bool = True) -> Iterator[Block]:
        """Nothing."""
        assert committed
        assert len(offset_range) == 1
        return iter(())


def test_a_file_put_back_after_its_records_aged_out_is_green(tmp_path: Path) -> None:
    """It was verified while Kafka had the records, and checksums say that it is that file again."""
    one = Ledger.made(tmp_path, others(30), [10, 20])
    assert one.verify() == {}
    (path,) = (one.folder.events / "micro_batch=0").glob("*.parquet")
    content = path.read_bytes()
    one.kafka.first = 10
    path.unlink()
    assert set(one.verify()) == {"I8"}
    assert set(one.verify()) == {"I8"}
    path.write_bytes(content)
    assert one.verify() == {}
    assert read_verified(one.folder).recheck == {}


def test_a_run_that_is_not_published_yet_can_not_be_verified(tmp_path: Path) -> None:
    """It is a mistake to ask, and leaves no mark: the DAG's runs stay green."""
    one = Ledger.made(tmp_path, others(20), [10])
    receipt = Receipt(
        pipeline="p",
        run="x",
        state=ReceiptState.OPEN,
        seed=1,
        records=10,
        malformed=0.0,
        opened_at=MOMENT,
        start=Offsets.nested({"t": {0: 20}}),
    )
    documents.write(one.folder.receipt("x"), receipt)
    with pytest.raises(UsageError, check=Code.BATCH_UNPUBLISHED.fits):
        of_run(one.folder, "x")
    documents.write(
        one.folder.receipt("x"),
        msgspec.structs.replace(receipt, state=ReceiptState.COMPLETE, completed_at=MOMENT, digest="0" * 32),
    )
    with pytest.raises(UsageError, check=Code.BATCH_UNPUBLISHED.fits):
        of_run(one.folder, "x")
    assert one.verify() == {}


@pytest.mark.parametrize("hidden_from", [10, None])
def test_a_batch_hidden_when_the_stream_was_planned_is_tried_again(
    tmp_path: Path, hidden_from: int | None
) -> None:
    """Whether the transaction that hid it is still open or has ended meanwhile."""
    one = Ledger.made(tmp_path, [*others(10), *batch("run", 10)], [10])
    one.receipt("run", 10, 19)
    one.kafka.hidden_from = hidden_from
    with pytest.raises(
        OpenTransactionError, match="still open at offset 10" if hidden_from else "it has ended"
    ):
        check_receipts(one.folder, one.kafka, completed_receipts(one.folder))


def test_micro_batches_published_while_verify_looks_are_the_next_runs(tmp_path: Path) -> None:
    """However many they are, with their quarantine."""
    one = Ledger.made(tmp_path, others(40), [10])
    verification = one.verification(one.everything)
    one.publish(1, 10, 20)
    one.publish(2, 20, 30)
    assert verification.run("verify").state == "green"


def test_a_mark_that_moved_while_verify_looks_is_not_beyond_the_ledger(tmp_path: Path) -> None:
    """Another run may publish and verify between two looks of this one."""
    one = Ledger.made(tmp_path, others(40), [10])
    scope = one.everything
    verification = one.verification(scope)
    one.publish(1, 10, 20)
    assert one.verify() == {}
    report = verification.run("slow")
    assert one.conclude(report, scope) == {}
    assert read_verified(one.folder).until == 1


def with_headers(keys: list[str]) -> Callable[[pa.Table], pa.Table]:
    """A change that gives every row the same headers."""

    def change(table: pa.Table) -> pa.Table:
        index = table.column_names.index("_headers")
        kind = table.schema.field(index).type
        return table.set_column(
            index, "_headers", pa.array([[{"key": key, "value": b"v"} for key in keys]] * len(table), kind)
        )

    return change


@pytest.mark.parametrize(("published", "told", "is_green"), [
    (["trace"], [("trace", b"v")], True),
    (["trace"], [("other", b"v")], False),
    (["a\0b"], [("a", b"v")], True),
    (["caf\ufffd"], None, True),
])  # fmt: skip
def test_header_names_are_compared_as_far_as_they_can_be_told(
    tmp_path: Path,
    published: list[str],
    told: list[tuple[str, bytes | None]] | None,
    is_green: bool,
) -> None:
    """One record whose header's name is no text for this client must not stop verify, nor make it red."""
    one = Ledger.made(tmp_path, others(10), [10])
    one.tamper(0, with_headers(published), "quarantine", sign=True)
    one.kafka.headers = told
    assert (one.verify() == {}) == is_green


def test_a_scope_of_another_ledger_is_told(tmp_path: Path) -> None:
    """The scope names the checkpoint that it was made for."""
    one = Ledger.made(tmp_path, others(10), [10])
    assert since_verified(one.folder) == Scope(
        checkpoint="c1", micro_batches=[0], receipts=[], updates_verified=True
    )


def rewritten(one: Ledger, micro_batch: int) -> Path:
    """The entry of a micro-batch, changed so that it still balances."""
    path = one.folder.events / f"micro_batch={micro_batch}" / "_entry.json"
    documents.write(path, msgspec.structs.replace(entries(one.folder)[micro_batch], run="another"))
    return path


def test_what_was_green_does_not_vouch_for_what_came_later(tmp_path: Path) -> None:
    """Clearing the report task of a green run verifies no entry and no receipt that was changed since."""
    one = Ledger.made(tmp_path, batch("a", 20), [10, 20])
    one.receipt("a", 0, 19)
    scope = since_verified(one.folder)
    old = one.look(scope)
    assert one.conclude(old, scope) == {}
    mark = one.folder.verified.read_text()
    entry = one.folder.events / "micro_batch=0" / "_entry.json"
    whole = entry.read_bytes()
    for change in (lambda: rewritten(one, 0), entry.unlink):
        change()
        assert one.verify() != {}
        with pytest.raises(LedgerError, check=Code.CHANGED_SINCE.fits):
            one.conclude(old, scope)
        entry.write_bytes(whole)
    one.folder.verified.write_text(mark)
    receipt = documents.read(one.folder.receipt("a"), Receipt)
    documents.write(one.folder.receipt("a"), msgspec.structs.replace(receipt, seed=2))
    with pytest.raises(LedgerError, check=Code.CHANGED_SINCE.fits):
        one.conclude(old, scope)
    assert one.folder.verified.read_text() == mark


def test_what_changes_between_check_and_report_is_not_verified(tmp_path: Path) -> None:
    """Also an entry that an earlier run was green about."""
    one = Ledger.made(tmp_path, others(40), [10])
    assert one.verify() == {}
    one.publish(1, 10, 20)
    scope = since_verified(one.folder)
    report = one.look(scope)
    rewritten(one, 0)
    with pytest.raises(LedgerError, check=Code.CHANGED_SINCE.fits):
        one.conclude(report, scope)
    assert read_verified(one.folder).until == 0


def test_a_receipt_removed_before_verify_looks_is_missed(tmp_path: Path) -> None:
    """Its stream named it; also after another stream, and after it was verified."""
    one = Ledger.made(tmp_path, batch("a", 20), [10, 20])
    one.receipt("a", 0, 19)
    aside = one.folder.receipt("a").rename(tmp_path / "aside")
    documents.write(one.folder.streamed, one.streamed)
    assert "I1" in one.verify()
    documents.write(one.folder.streamed, one.streamed)
    assert "I1" in one.verify()
    aside.rename(one.folder.receipt("a"))
    assert one.verify() == {}
    aside = one.folder.receipt("a").rename(tmp_path / "aside")
    assert "I1" in one.verify(), "the last stream names it"
    aside.rename(one.folder.receipt("a"))
    assert one.verify() == {}
    documents.write(one.folder.streamed, one.streamed)
    one.folder.receipt("a").unlink()
    assert one.verify() == {}
    assert "I1" in one.verify(one.everything)
    assert "I1" in one.verify()


def test_a_wrong_identity_does_not_wipe_what_was_verified(tmp_path: Path) -> None:
    """The right one put back, what has aged out meanwhile is as proven as it was."""
    one = Ledger.made(tmp_path, others(30), [10, 20])
    assert one.verify() == {}
    identity = read_identity(one.folder)
    assert identity is not None
    documents.write(one.folder.identity, msgspec.structs.replace(identity, checkpoint="c2"))
    assert "I5" in one.verify()
    documents.write(one.folder.identity, identity)
    one.kafka.first = 20
    assert one.verify() == {}
    assert one.verify(one.everything) == {}


def test_a_micro_batch_put_back_after_its_records_aged_out_is_green(tmp_path: Path) -> None:
    """The whole folder was away, entry and all; hashes say that it is the one that was verified."""
    one = Ledger.made(tmp_path, others(30), [10, 20])
    assert one.verify() == {}
    folder = one.folder.events / "micro_batch=1"
    aside = folder.rename(tmp_path / "aside")
    one.kafka.first = 20
    assert "I5" in one.verify()
    aside.rename(folder)
    assert one.verify() == {}
    assert one.verify(one.everything) == {}


def test_what_a_file_manager_leaves_is_no_published_file(tmp_path: Path) -> None:
    """No reader takes it for records; a hidden Parquet file some would."""
    one = Ledger.made(tmp_path, others(30), [10])
    (one.folder.events / ".DS_Store").write_bytes(b"1")
    (one.folder.events / "micro_batch=0" / ".nfs0001").write_bytes(b"1")
    assert one.verify() == {}
    (one.folder.events / "micro_batch=0" / ".more.parquet").write_bytes(b"1")
    assert "I8" in one.verify(one.everything)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ids": None}, "Topic t is gone from Kafka"),
        ({"ids": "new"}, "Topic t was deleted and created again"),
        ({"ids": "new", "records": []}, "Topic t was deleted and created again"),
        ({"records": others(10)}, "t-0: the next offset is 20 but the topic ends at 10"),
    ],
)
def test_what_was_verified_is_not_green_beside_another_kafka(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    """A topic made anew, or one whose end Kafka lost, has not aged out: the ledger is not about it.

    With the right one it is green again.
    """
    one = Ledger.made(tmp_path, others(20), [10, 20])
    assert one.verify() == {}
    before = one.kafka
    one.kafka = replace(before, **change)
    for scope in (None, one.everything):
        (finding,) = one.verify(scope)["I6"]
        assert told in finding
    one.kafka = before
    assert one.verify(one.everything) == {}


def test_readers_columns_that_are_missing_are_no_red(tmp_path: Path) -> None:
    """The empty files hold no record; the next ingest puts them back."""
    one = Ledger.made(tmp_path, others(20), [10, 20])
    for kind in (one.folder.events, one.folder.quarantine):
        shutil.rmtree((kind / EMPTY).parent)
    assert one.verify() == {}


def test_a_damaged_file_is_told_of_its_own_micro_batch_alone(tmp_path: Path) -> None:
    """What comes after it is compared as if nothing were."""
    one = Ledger.made(tmp_path, others(20), [10, 20])
    (path,) = (one.folder.events / "micro_batch=0").glob("*.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    one.verify(one.everything)
    assert list(read_verified(one.folder).recheck) == [0]


def test_a_start_that_was_moved_behind_the_first_micro_batch_is_red(tmp_path: Path) -> None:
    """Its entry emptied to fit, everything joins and balances.

    Spark's own note of where it began says otherwise.
    """
    one = Ledger.made(tmp_path, others(20), [0, 20], start=0)
    source = one.folder.checkpoint / "sources" / "0" / "0"
    source.parent.mkdir(parents=True)
    source.write_bytes(b'\0v1\n{"t":{"0":0}}')
    assert one.verify() == {}
    moved = Ledger.made(tmp_path / "moved", others(20), [10, 20], start=10)
    shutil.copytree(one.folder.checkpoint / "sources", moved.folder.checkpoint / "sources")
    (finding,) = moved.verify()["I5"]
    assert "starts at offset 10 according to identity.json" in finding
    assert read_verified(moved.folder).mark is None
    shutil.rmtree(moved.folder.checkpoint / "sources")
    assert moved.verify() == {}, "Spark may have removed it"


def test_a_red_by_hand_wins_over_the_older_green_of_the_run(tmp_path: Path) -> None:
    """Until a newer green: then the run's own report counts again."""
    one = Ledger.made(tmp_path, batch("a", 20), [10, 20])
    one.receipt("a", 0, 19)
    assert one.verify() == {}
    (path,) = (one.folder.events / "micro_batch=0").glob("*.parquet")
    content = path.read_bytes()
    path.unlink()
    assert "I8" in one.verify(one.everything)
    for run in ("a", "verify-1"):
        assert find(one.folder, run)[1].run == "verify-2"
    path.write_bytes(content)
    assert one.verify(one.everything) == {}
    assert find(one.folder, "verify-1")[1].run == "verify-1"
    assert find(one.folder, None)[1].run == "verify-3"


def test_a_history_is_looked_at_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest unchecked first, so that damage anywhere is found within a round.

    The report says how far the last round reached.
    """
    monkeypatch.setattr("headrace.verify.history.SHARE", 4)
    one = Ledger.made(tmp_path, others(20), range(2, 21, 2))
    assert one.verify() == {}
    seen = []
    for _ in range(5):
        report = one.look()
        assert one.conclude(report) == {}
        seen.append((report.history.checked, report.history.until))
    assert seen == [([0, 3], None), ([4, 7], None), ([8, 1], 9), ([2, 5], 9), ([6, 9], 9)]
    assert "micro-batches up to 9 were all checked after" in wording.history(report)
    (path,) = (one.folder.events / "micro_batch=5").glob("*.parquet")
    path.unlink()
    found = [one.verify() for _ in range(3)]
    assert [set(each) for each in found] == [set(), {"I8"}, {"I8"}]


def test_a_missing_micro_batch_is_noticed_by_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the history: one listing shows it."""
    monkeypatch.setattr("headrace.verify.history.SHARE", 1)
    one = Ledger.made(tmp_path, others(20), range(2, 21, 2))
    assert one.verify() == {}
    shutil.move(one.folder.events / "micro_batch=7", tmp_path / "aside")
    assert set(one.verify()) == {"I5"}
    shutil.move(tmp_path / "aside", one.folder.events / "micro_batch=7")
    assert one.verify() == {}


def test_a_folder_of_an_earlier_version_gets_one_sentence(tmp_path: Path) -> None:
    """The stream, verify and the checks of a pipeline file all read identity.json first."""
    one = Ledger.made(tmp_path, others(20), [10])
    one.folder.identity.write_text(one.folder.identity.read_text().replace('"schema": 2', '"schema": 1'))
    for attempt in (one.verify, lambda: open_ledger(one.folder, one.pipeline, one.kafka)):
        with pytest.raises(OutdatedError, match="headrace reset PIPELINE") as caught:
            attempt()
        assert len(str(caught.value).splitlines()) == 1


def test_what_was_proven_stays_proven_when_kafka_compacts_it_later(tmp_path: Path) -> None:
    """Rows of removed records are what they were when they were compared.

    What left Kafka says nothing about them, nor about the batch.
    """
    records = [*batch("a", 10), *others(10)]
    one = Ledger.made(tmp_path, records, [10, 20])
    one.receipt("a", 0, 9)
    assert one.verify() == {}
    one.kafka.records = [GAP if offset in {5, 6, 15} else record for offset, record in enumerate(records)]
    one.kafka.batches = [
        RecordBatch(
            0, 19, is_control=False, is_transactional=False, producer_id=-1, records=17, is_abort=False
        )
    ]
    report = one.look(one.everything)
    assert one.conclude(report, one.everything) == {}
    assert report.aged_out == [0, 1]
    assert [receipt.state for receipt in report.receipts] == ["aged_out"]
    one.tamper(0, forged)
    assert one.verify(one.everything).keys() == {"I4", "I8"}, "what is left of its records tells"


def test_what_kafka_had_compacted_before_the_proof_is_red(tmp_path: Path) -> None:
    """The entry counts gaps that nothing explains."""
    one = Ledger.made(
        tmp_path, [GAP if offset == 5 else record for offset, record in enumerate(others(10))], [10]
    )
    one.kafka.batches = [
        RecordBatch(0, 9, is_control=False, is_transactional=False, producer_id=-1, records=9, is_abort=False)
    ]
    for scope in (None, None, one.everything):
        assert one.verify(scope).keys() == {"I6"}


def test_a_missing_file_of_what_was_proven_is_one_finding(tmp_path: Path) -> None:
    """Where it is, and what it held; that its rows could not be compared says nothing more."""
    one = Ledger.made(tmp_path, others(20), [10, 20])
    assert one.verify() == {}
    next((one.folder.events / "micro_batch=0").glob("*.parquet")).unlink()
    found = one.verify(one.everything)
    assert {invariant: len(messages) for invariant, messages in found.items()} == {"I8": 1}
