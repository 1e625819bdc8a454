"""Accepting, on the record, what can't be published or proven any more."""

import json
from pathlib import Path

import msgspec
import pytest

from headrace import accepting, documents
from headrace.contract.pipeline import Pipeline
from headrace.errors import Code, LedgerError, RefusedError
from headrace.kafka.offsets import OffsetRange, Offsets
from headrace.kafka.record_batch import RecordBatch
from headrace.ledger import recovery
from headrace.ledger.accept import Unprovable
from headrace.ledger.entries import Link, entry_path, newest_link, read_link
from headrace.ledger.entry import Entry, EntryKind
from headrace.ledger.folder import Folder
from headrace.ledger.identity import read_identity
from headrace.ledger.opening import open_ledger
from headrace.ledger.progress import read_verified
from headrace.report import wording
from headrace.report.console import show, task_log
from headrace.report.html import render
from headrace.verify.result import ReceiptState
from headrace.verify.scope import of_run, since_verified
from ledgers import GAP, Ledger, batch, others


def listed(one: Ledger) -> Unprovable:
    """What can't be proven."""
    return accepting.unprovable(one.folder, one.pipeline, one.kafka)


def accept(one: Ledger, found: Unprovable | None = None) -> Entry:
    """Accept what is listed, or was."""
    return accepting.accept(
        one.folder,
        one.pipeline,
        one.kafka,
        found or listed(one),
        by="ada",
        reason="retention was too short",
        run="accept",
    )


def ranges(*spans: tuple[int, int]) -> list[OffsetRange]:
    """Of the one partition."""
    return [OffsetRange("t", 0, at, until) for at, until in spans]


def aged_out(one: Ledger, first: int) -> Ledger:
    """Kafka no longer holds what lies before."""
    one.kafka.first = first
    return one


def plain(at: int, until: int) -> RecordBatch:
    """A batch without a transaction."""
    return RecordBatch(
        at,
        until,
        is_control=False,
        is_transactional=False,
        producer_id=5,
        records=until - at + 1,
        is_abort=False,
    )


def test_lost_offsets_are_accepted_and_the_next_micro_batch_goes_on_behind_them(tmp_path: Path) -> None:
    """Red before; green after, with the words in every report; what was proven stays where it is."""
    one = Ledger.made(tmp_path, others(60), [20])
    assert one.verify() == {}
    before = entry_path(one.folder, 0).read_bytes()
    aged_out(one, 32)
    assert [*one.verify()] == ["I9"]
    entry = accept(one)
    assert (entry.number, entry.kind, entry.offsets, entry.totals) == (
        1,
        EntryKind.ACCEPTED,
        Offsets.nested({"t": {0: 32}}),
        read_link(one.folder, 0).entry.totals,
    )
    assert entry.accepted
    assert (entry.accepted.lost, entry.accepted.unproven, entry.accepted.by) == (ranges((20, 32)), [], "ada")
    assert one.verify() == {}
    one.publish(2, 32, 60)
    report = one.look()
    assert one.conclude(report) == {}
    assert (report.ever.lost, report.waiting.offsets, read_verified(one.folder).accepted) == (12, 0, [1])
    (words,) = wording.accepted(report)
    assert words.startswith("12 offsets lost, accepted on 2")
    assert words.endswith("by ada: retention was too short")
    assert words in render(report)
    assert entry_path(one.folder, 0).read_bytes() == before
    assert one.verify(one.everything) == {}


def test_the_balance_shows_lost_offsets_and_still_adds_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a column that is there only where something is lost."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20]), 32)
    accept(one)
    one.publish(2, 32, 60)
    report = one.look(one.everything)
    (row,) = report.balance
    assert (row.from_offset, row.until_offset, row.lost, row.difference) == (0, 60, 12, 0)
    assert wording.outcome(report).green
    assert "12 lost" in wording.outcome(report).headline
    show(report, task_log())
    assert "lost" in capsys.readouterr().out


def test_unproven_offsets_keep_their_counts(tmp_path: Path) -> None:
    """They were published, and left Kafka before verify read them."""
    one = Ledger.made(tmp_path, others(60), [20, 50, 60])
    aged_out(one, 30)
    assert [*one.verify()] == ["I7"]
    entry = accept(one)
    assert entry.accepted
    assert (entry.accepted.lost, entry.accepted.unproven) == ([], ranges((0, 30)))
    assert entry.totals == read_link(one.folder, 2).entry.totals
    report = one.look()
    assert one.conclude(report) == {}
    assert (report.ever.unproven, sum(row.lost for row in report.balance), report.aged_out) == (30, 0, [])
    assert wording.accepted(report)[0].startswith("30 offsets unproven, accepted on")
    assert one.verify(one.everything) == {}


def test_files_of_unproven_offsets_are_still_guarded(tmp_path: Path) -> None:
    """I8 holds them against their entry."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20, 60]), 30)
    accept(one)
    assert one.verify() == {}
    (path,) = (one.folder.events / "micro_batch=0").glob("*.parquet")
    path.unlink()
    assert "I8" in one.verify(one.everything)


def test_only_what_left_before_it_was_proven_is_listed(tmp_path: Path) -> None:
    """One by one: of what was proven, and of what Kafka still holds, nothing."""
    one = Ledger.made(tmp_path, others(90), [20])
    assert one.verify() == {}
    one.publish(1, 20, 50)
    aged_out(one, 35)
    assert listed(one).unproven == ranges((20, 35))
    aged_out(one, 70)
    found = listed(one)
    assert (found.lost, found.unproven) == (ranges((50, 70)), ranges((20, 50)))
    accept(one)
    assert not listed(one)


def test_a_gap_that_nothing_explains_becomes_lost(tmp_path: Path) -> None:
    """And counts as a gap no longer."""
    records = others(20)
    records[7:10] = [GAP] * 3
    one = Ledger.made(tmp_path, records, [20])
    one.kafka.batches = [plain(0, 6), plain(10, 19)]
    assert [*one.verify()] == ["I6"]
    found = listed(one)
    assert (found.lost, found.unproven) == (ranges((7, 10)), [])
    entry = accept(one)
    assert (entry.offsets, entry.totals.gaps, read_link(one.folder, 0).entry.totals.gaps) == (
        Offsets.nested({"t": {0: 20}}),
        0,
        3,
    )
    report = one.look()
    assert one.conclude(report) == {}
    (row,) = report.balance
    assert (row.gaps, row.lost, report.ever.gaps, report.ever.lost) == (0, 3, 0, 3)
    assert one.verify(one.everything) == {}


def test_before_the_first_micro_batch_the_checkpoint_is_made(tmp_path: Path) -> None:
    """Spark replays the plan in it, and goes on behind the lost offsets."""
    one = Ledger.made(tmp_path, others(40), checkpoint=None)
    aged_out(one, 12)
    entry = accept(one)
    identity = read_identity(one.folder)
    assert identity
    assert (entry.number, entry.starts, entry.offsets, entry.checkpoint) == (
        0,
        Offsets.nested({"t": {0: 0}}),
        Offsets.nested({"t": {0: 12}}),
        identity.checkpoint,
    )
    assert json.loads((one.folder.checkpoint / "metadata").read_text()) == {"id": identity.checkpoint}
    assert json.loads((one.folder.checkpoint / "offsets" / "0").read_text().splitlines()[-1]) == {
        "t": {"0": 12}
    }
    assert one.verify() == {}


def test_a_new_partition_whose_first_records_are_lost_joins_behind_them(tmp_path: Path) -> None:
    """No stream could read it before; after the acceptance one can."""
    one = Ledger.made(tmp_path, others(20), [20])
    one.kafka.partitions, one.kafka.lost_partition = 2, 5
    with pytest.raises(RefusedError, check=Code.OFFSETS_LOST.fits):
        open_ledger(one.folder, one.pipeline, one.kafka)
    assert listed(one).lost == [OffsetRange("t", 1, 0, 5)]
    entry = accept(one)
    assert (entry.starts, entry.offsets) == (
        Offsets.nested({"t": {1: 0}}),
        Offsets.nested({"t": {0: 20, 1: 5}}),
    )
    open_ledger(one.folder, one.pipeline, one.kafka)
    assert one.verify() == {}


def test_a_stream_starts_after_the_acceptance_and_not_before(tmp_path: Path) -> None:
    """The refusal names the way out."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20]), 32)
    with pytest.raises(RefusedError, check=Code.OFFSETS_LOST.fits):
        open_ledger(one.folder, one.pipeline, one.kafka)
    accept(one)
    open_ledger(one.folder, one.pipeline, one.kafka)


def test_an_unpublished_plan_makes_room(tmp_path: Path) -> None:
    """Spark's own plan by the entry's number would lead over the lost offsets."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20]), 32)
    plan = one.folder.checkpoint / "offsets" / "1"
    plan.write_text('v1\n{}\n{"t": {"0": 60}}')
    (plan.parent / ".1.crc").write_bytes(b"crc\0")
    accept(one)
    assert plan.read_text() == 'v1\n{}\n{"t":{"0":32}}'
    assert not (plan.parent / ".1.crc").exists()
    assert one.verify() == {}


def test_the_receipt_of_a_batch_with_lost_records_is_settled(tmp_path: Path) -> None:
    """It can't be read back whole.

    Nobody waits for that any more, and the report does not say that it was.
    """
    one = Ledger.made(tmp_path, others(10) + batch("a", 20) + batch("b", 20), [10])
    assert one.verify() == {}
    one.publish(1, 10, 20)
    one.receipt("a", 10, 29)
    aged_out(one, 25)
    assert {*one.verify()} == {"I1", "I7", "I9"}
    accept(one)
    one.publish(3, 25, 50)
    one.receipt("b", 30, 49)
    report = one.look()
    assert one.conclude(report) == {}
    assert {each.run: each.state for each in report.receipts} == {
        "a": ReceiptState.ACCEPTED,
        "b": ReceiptState.VERIFIED,
    }
    again = one.look(one.everything)
    assert one.conclude(again, one.everything) == {}
    assert {each.run: each.state for each in again.receipts}["a"] == ReceiptState.ACCEPTED


def test_what_ages_out_after_the_list_needs_another_one(tmp_path: Path) -> None:
    """Just what was shown is accepted."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20]), 32)
    found = listed(one)
    aged_out(one, 40)
    accept(one, found)
    assert [*one.verify()] == ["I9"]
    assert listed(one).lost == ranges((32, 40))


def test_a_list_of_another_ledger_is_refused(tmp_path: Path) -> None:
    """What can be proven by now is not accepted."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20]), 32)
    found = listed(one)
    other = Ledger.made(tmp_path / "other", others(60), [20, 40])
    with pytest.raises(RefusedError, check=Code.LIST_OUTDATED.fits):
        accept(other, found)
    assert other.folder.micro_batches() == [0, 1]


def test_nothing_is_listed_beside_another_kafka(tmp_path: Path) -> None:
    """There all would seem to be gone."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20]), 32)
    one.kafka.ids = "another"
    with pytest.raises(RefusedError, check=Code.ALL_IN_DOUBT.fits):
        listed(one)


def test_before_any_stream_there_is_nothing_to_accept(tmp_path: Path) -> None:
    """There is no ledger to write it in."""
    one = Ledger.made(tmp_path, others(20))
    one.folder.identity.unlink()
    one.folder.started.unlink()
    with pytest.raises(RefusedError, check=Code.NO_STREAM.fits):
        listed(one)


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"lost": ranges((20, 30))}, "I5"),  # the ledger ends elsewhere
        ({"lost": ranges((20, 36))}, "I5"),
        ({"lost": ranges((20, 32)), "unproven": ranges((20, 40))}, "I5"),  # was never published
    ],
)
def test_an_acceptance_that_was_edited_is_red(
    tmp_path: Path, change: dict[str, list[OffsetRange]], broken: str
) -> None:
    """It must join the entry before it as a micro-batch does."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20]), 32)
    entry = accept(one)
    assert entry.accepted
    edited = msgspec.structs.replace(entry, accepted=msgspec.structs.replace(entry.accepted, **change))
    documents.write(entry_path(one.folder, 1), edited)
    assert broken in one.verify()


def test_what_is_accepted_as_lost_must_be_gone(tmp_path: Path) -> None:
    """Otherwise no stream would ever read it, and green would not say so."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20]), 32)
    accept(one)
    aged_out(one, 25)
    assert [*one.verify()] == ["I9"]


def test_an_acceptance_counts_from_the_ledger_alone(tmp_path: Path) -> None:
    """Also where verified.json was removed, and long after."""
    one = aged_out(Ledger.made(tmp_path, others(200), [20]), 32)
    accept(one)
    for number, at in enumerate(range(32, 192, 2), 2):
        one.publish(number, at, at + 2)
    assert one.verify() == {}
    one.publish(82, 192, 200)
    report = one.look()
    assert one.conclude(report) == {}
    assert report.ever.lost == 12
    one.folder.verified.unlink()
    again = one.look()
    assert one.conclude(again) == {}
    assert (again.ever.lost, again.ever.unproven) == (12, 20)


def test_a_copy_from_before_the_acceptance_forgets_it(tmp_path: Path) -> None:
    """Together with the ledger that holds it."""
    one = Ledger.made(tmp_path, others(60), [20])
    assert one.verify() == {}
    old = one.copied(tmp_path / "copy")
    aged_out(one, 32)
    accept(one)
    assert one.verify() == {}
    one.rolled_back(old)
    with pytest.raises(RefusedError, check=Code.OFFSETS_LOST.fits):
        open_ledger(one.folder, one.pipeline, one.kafka)
    accept(one)
    one.publish(2, 32, 60)
    assert one.verify() == {}


def test_an_acceptance_that_was_killed_can_be_repeated(tmp_path: Path) -> None:
    """Before the commit nothing counts; the plan that it left is replaced."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20]), 32)
    accept(one)
    for path in sorted(entry_path(one.folder, 1).parent.glob("*")):
        path.unlink()
    entry_path(one.folder, 1).parent.rmdir()
    assert (one.folder.checkpoint / "offsets" / "1").exists()
    accept(one)
    newest = newest_link(one.folder)
    assert newest
    assert newest.entry.number == 1
    assert one.verify() == {}
    with pytest.raises(LedgerError):
        read_link(one.folder, 2)


def test_what_compaction_removed_after_it_was_published_is_not_lost(tmp_path: Path) -> None:
    """Its rows are there, so it would be counted twice, and gaps fewer than none."""
    one = Ledger.made(tmp_path, others(20), [20])
    one.kafka.records = [*one.kafka.records[:7], *[GAP] * 3, *one.kafka.records[10:]]
    one.kafka.batches = [plain(0, 6), plain(10, 19)]
    assert {*one.verify()} == {"I4", "I6"}
    assert not listed(one)


def test_an_overwritten_record_of_a_batch_with_accepted_losses_is_red(tmp_path: Path) -> None:
    """No more records may be missing than offsets were accepted."""
    records = others(10) + batch("a", 20) + others(30)
    one = Ledger.made(tmp_path, records, [10])
    assert one.verify() == {}
    one.receipt("a", 10, 29)
    records[27] = (b"k", b"important")
    aged_out(one, 15)
    accept(one)
    one.publish(2, 15, 60)
    assert one.verify() == {"I1": ["run a wanted 20 records, 14 were read back, and 5 at most left Kafka"]}


def test_two_at_once_accept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second would take what the first has moved behind for gaps."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20]), 32)
    found, look = listed(one), newest_link

    def late(folder: Folder) -> Link | None:
        newest = look(folder)
        monkeypatch.setattr(accepting, "newest_link", look)
        accept(one, found)
        return newest

    monkeypatch.setattr(accepting, "newest_link", late)
    with pytest.raises(RefusedError, check=Code.LIST_OUTDATED.fits):
        accept(one, found)
    assert one.folder.micro_batches() == [0, 1]


def test_a_new_topic_joins_with_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one that is created again would be taken for it, and its first records never read."""
    one = Ledger.made(tmp_path, others(20), [20])
    text = one.pipeline.path.read_text()
    one.pipeline.path.write_text(text + text[text.index("[[topics]]") :].replace('"t"', '"u"'))
    one.pipeline = Pipeline.load(one.pipeline.path)
    monkeypatch.setattr(
        one.kafka,
        "earliest",
        lambda topics: Offsets.nested({topic: {0: 5 if topic == "u" else 0} for topic in topics}),
    )
    assert listed(one).lost == [OffsetRange("u", 0, 0, 5)]
    accept(one)
    identity = read_identity(one.folder)
    assert identity
    assert identity.topics == {"t": "id-t", "u": "id-u"}


def test_the_age_of_what_waits_does_not_begin_with_an_acceptance(tmp_path: Path) -> None:
    """Entry 0 says when the first stream began only if a stream wrote it: limits would hold for too long."""
    one = aged_out(Ledger.made(tmp_path, others(40), checkpoint=None), 12)
    accept(one)
    waits = one.look().waiting
    assert waits.oldest_seconds
    assert waits.oldest_seconds > 365 * 24 * 3600


def test_an_acceptance_before_the_first_micro_batch_that_was_killed_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where Spark's checkpoint was moved out of the way already: it is not missed."""
    one = aged_out(Ledger.made(tmp_path, others(60)), 12)

    def die(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(recovery, "_plan", die)
        with pytest.raises(KeyboardInterrupt):
            accept(one)
    accept(one)
    assert one.verify() == {}


def test_a_run_that_moves_nothing_knows_a_new_acceptance(tmp_path: Path) -> None:
    """Though it is neither in its scope nor known to verify yet."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20, 40]), 30)
    accept(one)
    one.publish(3, 40, 50)
    one.publish(4, 50, 60)
    scope = msgspec.structs.replace(since_verified(one.folder), micro_batches=[0], updates_verified=False)
    assert one.verify(scope) == {}


def test_an_acceptance_that_was_red_is_not_forgotten_when_it_is_settled(tmp_path: Path) -> None:
    """Also by a run that moves nothing."""
    one = aged_out(Ledger.made(tmp_path, others(200), [20]), 32)
    accept(one)
    one.publish(2, 32, 40)
    aged_out(one, 25)
    assert [*one.verify()] == ["I9"]
    aged_out(one, 32)
    scope = of_run(one.folder, "accept")
    assert one.verify(scope) == {}
    for number, at in enumerate(range(40, 200, 2), 3):
        one.publish(number, at, at + 2)
    for _ in range(3):  # the share of the history leaves it behind
        report = one.look()
        assert one.conclude(report) == {}
        assert report.ever.lost == 12


def test_what_an_acceptance_settled_is_red_again_when_it_is_rolled_back(tmp_path: Path) -> None:
    """A false green: nothing proves these offsets, and no entry accepts them."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20, 40]), 10)
    assert [*one.verify()] == ["I7"]
    old = one.copied(tmp_path / "copy")
    accept(one)
    assert one.verify() == {}
    one.rolled_back(old)
    open_ledger(one.folder, one.pipeline, one.kafka)
    assert [*one.verify(one.everything)] == ["I7"]


def test_one_acceptance_is_enough_after_a_roll_back(tmp_path: Path) -> None:
    """What was settled by the one that is gone is listed with what is lost."""
    one = Ledger.made(tmp_path, others(60), [20])
    assert one.verify() == {}
    one.publish(1, 20, 30)
    old = one.copied(tmp_path / "copy")
    aged_out(one, 42)
    accept(one)
    assert one.verify() == {}
    one.rolled_back(old)
    accept(one)
    assert one.verify() == {}


def test_a_reason_may_hold_any_byte_and_line(tmp_path: Path) -> None:
    """An argument that is not UTF-8 is written down readably; each report says it on one line."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20]), 32)
    entry = accepting.accept(
        one.folder,
        one.pipeline,
        one.kafka,
        listed(one),
        by="ada",
        reason=b"off for\n two days \xff".decode("utf-8", "surrogateescape"),
        run="accept",
    )
    assert entry.accepted
    assert entry.accepted.reason == "off for two days \\udcff"
    assert read_link(one.folder, 1).entry == entry


def test_a_task_that_was_killed_after_it_accepted_may_be_tried_again(tmp_path: Path) -> None:
    """The second try finds what the first one wrote."""
    one = aged_out(Ledger.made(tmp_path, others(60), [20]), 32)
    found = listed(one)

    def write() -> Entry:
        return accepting.accept(
            one.folder,
            one.pipeline,
            one.kafka,
            found,
            by="ada",
            reason="a test",
            run="repair",
            shown=found.digest,
        )

    assert write() == write()
    assert one.folder.micro_batches() == [0, 1]
