"""What one run says and remembers while others publish, verify, restore and break off.

Green and red stay with what they are about.
"""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from headrace import documents
from headrace.contract.limits import Limits
from headrace.errors import BrokenInvariantError, Code, LedgerError, UnsupportedLoginError
from headrace.ledger.entries import entry_path, newest_link
from headrace.ledger.entry import Entry
from headrace.ledger.identity import Identity, read_identity
from headrace.ledger.progress import History, Streamed, read_verified, roll_back
from headrace.report import wording
from headrace.report.conclusion import conclude
from headrace.reset import reset
from headrace.verify import per_minute
from headrace.verify.result import Report
from headrace.verify.scope import Scope, since_verified, with_new
from headrace.verify.settle import announced
from headrace.verify.stored import Of, find, of_run, store
from ledgers import GAP, Ledger, batch, forged, others


def states(report: Report) -> dict[str, str]:
    """The invariants that do not hold."""
    return {each.id: each.state.value for each in report.invariants if each.state != "held"}


def limited(one: Ledger, limits: Limits) -> Ledger:
    """The ledger of a pipeline with these limits."""
    object.__setattr__(one.pipeline, "limits", limits)
    return one


def is_news(one: Ledger) -> bool:
    """Run verify as the DAG does; whether its green is to be announced."""
    scope = since_verified(one.folder)
    return conclude(one.folder, one.pipeline, scope, one.look(scope)) is not None


def announce(one: Ledger) -> None:
    """Remember, as the DAG does, that the last green was announced."""
    announced(one.folder, read_verified(one.folder).proved_by)


def test_what_came_since_the_scope_was_made_is_counted(tmp_path: Path) -> None:
    """`check` may begin late or be cleared alone.

    What is not in its scope is not part of its green, and it says so.
    """
    one = Ledger.made(tmp_path, others(40), [10])
    scope = since_verified(one.folder)
    one.publish(1, 10, 20)
    one.tamper(1, forged)
    report = one.look(scope)
    assert report.published_meanwhile == 1
    assert "1 micro-batch published meanwhile" in wording.outcome(report).detail
    later = with_new(scope, one.folder)
    assert later.micro_batches == [0, 1]
    assert "I8" in one.conclude(one.look(later), scope)


def test_a_removed_micro_batch_is_red_in_every_report_about_it(tmp_path: Path) -> None:
    """A red names what it could not look at."""
    one = Ledger.made(tmp_path, others(40), [10])
    assert one.verify() == {}
    one.publish(1, 10, 20)
    assert one.verify() == {}
    one.publish(2, 20, 30)
    assert one.verify() == {}
    shutil.rmtree(one.folder.events / "micro_batch=1")
    assert "I5" in one.verify(one.everything)
    assert find(one.folder, "verify-2")[1].run == "verify-4"


def test_a_green_about_others_hides_no_red(tmp_path: Path) -> None:
    """Of the newest reports about each micro-batch of a run the red one is shown."""
    one = Ledger.made(tmp_path, others(40), [10, 20])
    assert one.verify() == {}
    one.tamper(1, forged)
    assert "I8" in one.verify(one.everything)
    assert one.verify(Scope(checkpoint="c1", micro_batches=[0], receipts=[], updates_verified=False)) == {}
    assert find(one.folder, "verify-1")[1].run == "verify-2"


def test_a_copy_that_was_never_verified_vouches_for_nothing(tmp_path: Path) -> None:
    """Verify goes back to a mark whose entry is still that file, not to whatever the copy holds."""
    one = Ledger.made(tmp_path, others(60), [10])
    assert one.verify() == {}
    good = one.copied(tmp_path / "good")
    one.publish(1, 10, 20)
    one.tamper(1, forged, sign=True)
    bad = one.copied(tmp_path / "bad")
    one.rolled_back(good)
    roll_back(one.folder, newest_link(one.folder))
    one.publish(1, 10, 20)
    one.publish(2, 20, 30)
    assert one.verify() == {}
    one.rolled_back(bad)
    roll_back(one.folder, newest_link(one.folder))
    assert read_verified(one.folder).until == 0
    assert "I4" in one.verify()


def test_a_copy_with_as_many_micro_batches_is_another_ledger(tmp_path: Path) -> None:
    """Its newest entry has the mark's number and is another one; after the next stream verify is green."""
    one = Ledger.made(tmp_path, others(60), [10])
    assert one.verify() == {}
    first = one.copied(tmp_path / "first")
    one.publish(1, 10, 20)
    second = one.copied(tmp_path / "second")
    one.rolled_back(first)
    roll_back(one.folder, newest_link(one.folder))
    one.publish(1, 10, 25)
    assert one.verify() == {}
    one.rolled_back(second)
    assert "I5" in one.verify()
    roll_back(one.folder, newest_link(one.folder))
    one.publish(2, 20, 30)
    assert one.verify() == {}
    assert one.verify(one.everything) == {}


def test_a_batch_that_kafka_lost_before_any_stream_is_red(tmp_path: Path) -> None:
    """Its topic was deleted and created again: nothing aged out, and nothing is there."""
    one = Ledger.made(tmp_path, [*others(10), *batch("run", 10)])
    one.receipt("run", 10, 19)
    for path in (one.folder.identity, one.folder.started, one.folder.streamed):
        path.unlink()
    shutil.rmtree(one.folder.checkpoint)
    one.kafka.records = []
    assert states(one.look()) == {"I9": "broken"}


def test_a_batch_whose_end_kafka_lost_while_it_waited_is_red(tmp_path: Path) -> None:
    """A broker that lost its end (a power cut) holds less than the producer can prove."""
    one = Ledger.made(tmp_path, [*others(10), *batch("run", 10)], [10])
    assert one.verify() == {}
    one.receipt("run", 10, 19)
    one.folder.streamed.unlink()
    one.kafka.records = one.kafka.records[:12]
    report = one.look()
    assert [(each.from_offset, each.until_offset) for each in report.invariants[8].findings] == [(12, 20)]


def test_what_a_red_run_proved_is_announced_by_the_next_green(tmp_path: Path) -> None:
    """A limit was passed while new records came: consumers would otherwise never hear of them."""
    one = limited(Ledger.made(tmp_path, others(30), [30]), Limits(freshness=60.0))
    with pytest.raises(BrokenInvariantError):
        is_news(one)
    limited(one, Limits())
    assert is_news(one)
    announce(one)
    assert not is_news(one)


def test_what_was_proven_by_hand_or_by_a_task_that_died_is_announced(tmp_path: Path) -> None:
    """The announcement is the DAG's; until it is made, it is news."""
    one = Ledger.made(tmp_path, others(30), [10])
    assert one.verify(one.everything) == {}
    assert is_news(one)
    assert is_news(one), "the task died before it had announced it"
    announce(one)
    one.publish(1, 10, 20)
    assert is_news(one)


def test_two_runs_at_once_count_their_share_of_the_history_once(tmp_path: Path) -> None:
    """Both looked at the same micro-batches: the next run goes on behind these, not further."""
    one = Ledger.made(tmp_path, [(b"k", b"important")] * 140, range(2, 141, 2))
    assert one.verify() == {}
    documents.write(
        one.folder.verified, msgspec.structs.replace(read_verified(one.folder), history=History())
    )
    next((one.folder.events / "micro_batch=40").glob("*.parquet")).unlink()
    scope = since_verified(one.folder)
    for report in (one.look(scope), one.look(scope)):
        assert one.conclude(report, scope) == {}
    assert set(one.verify()) == {"I8"}


def test_gaps_that_were_not_checked_stay_in_the_headline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until all of it is verified with a client that can log in."""
    one = Ledger.made(
        tmp_path, [GAP if offset in {4, 5} else record for offset, record in enumerate(others(10))], [10]
    )

    def refused(*_: object) -> None:
        raise UnsupportedLoginError("GSSAPI")

    with monkeypatch.context() as patch:
        patch.setattr(type(one.kafka), "record_batches", refused)
        assert one.verify() == {}
    assert "2 gaps could not be checked" in wording.outcome(one.look()).sentence
    assert set(one.verify(one.everything)) == {"I6"}


def test_kept_per_minute_follows_a_restored_ledger(tmp_path: Path) -> None:
    """The same numbers may stand for other micro-batches then."""
    one = Ledger.made(tmp_path, others(60), [10])
    assert one.verify() == {}
    per_minute.extend(one.folder, read_verified(one.folder))
    before = one.copied(tmp_path / "before")
    one.publish(1, 10, 20)
    assert one.verify() == {}
    per_minute.extend(one.folder, read_verified(one.folder))
    one.rolled_back(before)
    roll_back(one.folder, newest_link(one.folder))
    one.publish(1, 10, 40)
    assert one.verify() == {}
    per_minute.extend(one.folder, read_verified(one.folder))
    newest = newest_link(one.folder)
    assert newest is not None
    assert (
        sum(pq.read_table(one.folder.kept_per_minute).column("kept").to_pylist()) == newest.entry.totals.kept
    )


def test_a_clock_that_was_ahead_hides_no_lag(tmp_path: Path) -> None:
    """The last complete stream seems to have begun in the future: the record's own timestamp counts."""
    one = limited(Ledger.made(tmp_path, others(30), [10]), Limits(lag=3600.0))
    now = datetime.now(UTC)
    ahead = now + timedelta(days=3)
    documents.write(one.folder.streamed, Streamed(run="run", started_at=ahead, ended_at=ahead, receipts=[]))
    one.kafka.waiting_at = int((now - timedelta(hours=20)).timestamp() * 1000)
    assert states(one.look()) == {"I10": "broken"}


def test_a_ledger_that_was_removed_by_hand_is_red(tmp_path: Path) -> None:
    """A stream ran here: that there is nothing is no beginning."""
    one = Ledger.made(tmp_path, others(30), [10, 20])
    one.folder.identity.unlink()
    for name in ("events", "quarantine", "checkpoint"):
        shutil.rmtree(one.folder.root / name)
    assert "I5" in states(one.look())


def test_a_run_whose_scope_is_older_than_the_checkpoint_forgets_nothing(tmp_path: Path) -> None:
    """`collect` ran while the first stream was being planned."""
    one = Ledger.made(tmp_path, others(30), checkpoint=None)
    scope = since_verified(one.folder)
    identity = read_identity(one.folder)
    assert identity is not None
    documents.write(one.folder.identity, msgspec.structs.replace(identity, checkpoint="c1"))
    one.publish(0, 0, 10)
    assert one.verify(one.everything) == {}
    assert one.conclude(one.look(scope), scope) == {}
    one.kafka.first = 10
    assert one.verify() == {}


def test_an_older_red_does_not_undo_a_newer_proof(tmp_path: Path) -> None:
    """Its report task died, and is tried again after another run has proven the same micro-batch."""
    one = Ledger.made(tmp_path, others(40), [10])
    scope = one.everything
    records = one.kafka.records
    one.kafka.records = [(key, b"x") for key, _ in records]
    red = one.look(scope)
    one.kafka.records = records
    assert one.verify() == {}
    assert one.conclude(red, scope) != {}
    one.kafka.first = 10
    assert one.verify() == {}


def test_the_quarantined_share_counts_the_newest_records_beside_the_scope(tmp_path: Path) -> None:
    """A micro-batch of long ago that is checked again is no rate of its own."""
    one = Ledger.made(tmp_path, others(2_000), [10, 2_000])
    assert one.verify() == {}
    limited(one, Limits(quarantined=0.5))
    (path,) = (one.folder.events / "micro_batch=0").glob("*.parquet")
    content = path.read_bytes()
    path.unlink()
    one.verify()
    path.write_bytes(content)
    assert one.look().limits[0].shown.startswith("200 of 2,000 records")


def test_a_hole_behind_a_micro_batch_that_came_back_is_seen_at_once(tmp_path: Path) -> None:
    """The one behind it was proven while it was away, and nothing could be said of how the two join."""
    one = Ledger.made(tmp_path, [(b"k", b"important")] * 60, [10, 20])
    one.publish(2, 20, 30)
    one.publish(3, 35, 45)
    aside = (one.folder.events / "micro_batch=2").rename(tmp_path / "aside")
    assert "I5" in one.verify()
    documents.write(
        one.folder.verified, msgspec.structs.replace(read_verified(one.folder), history=History())
    )
    aside.rename(one.folder.events / "micro_batch=2")
    assert any("leaves out offsets 30 to 34" in message for message in one.verify()["I5"])


def test_rules_that_are_not_known_any_more_leave_what_is_proven_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of Headrace can't judge the records again.

    What it finds proven is not checked, what is new can't be green.
    """
    one = Ledger.made(tmp_path, others(30), [10])
    assert one.verify() == {}
    for module in ("judging", "grouping"):
        monkeypatch.setattr(f"headrace.verify.{module}.ENTRY_RULES", frozenset({2}))
    report = one.look(one.everything)
    assert states(report) == {"I7": "not_checked"}
    assert report.state == "green"
    one.publish(1, 10, 20)
    assert one.verify().keys() == {"I7"}


def renamed(one: Ledger, number: int, run: str) -> None:
    """Let a micro-batch be one that a run published."""
    path = entry_path(one.folder, number)
    documents.write(path, msgspec.structs.replace(documents.read(path, Entry), run=run))


def shown(one: Ledger, run: str) -> str:
    """The name of the report that is shown for a run."""
    return find(one.folder, run)[1].run


def moved(path: Path) -> Path:
    """Take a file or folder away; returns where it is now."""
    return path.rename(path.parents[3] / path.name)


def test_a_red_about_others_is_settled_by_a_newer_green(tmp_path: Path) -> None:
    """It named micro-batch 1, which was mended.

    The run that verified micro-batch 0 is green again without anybody's looking at that.
    """
    one = Ledger.made(tmp_path, others(40), [10])
    assert one.verify() == {}
    one.publish(1, 10, 20)
    assert one.verify() == {}
    (path,) = (one.folder.events / "micro_batch=1").glob("*.parquet")
    aside = moved(path)
    assert "I8" in one.verify(one.everything)
    assert [shown(one, run) for run in ("verify-1", "verify-2")] == ["verify-3", "verify-3"]
    aside.rename(path)
    assert one.verify() == {}
    assert [shown(one, run) for run in ("verify-1", "verify-2")] == ["verify-1", "verify-2"]


def test_a_red_about_everything_is_settled_by_the_next_green(tmp_path: Path) -> None:
    """Kafka was another one for a moment. What is wrong with all of it every run looks at."""
    one = Ledger.made(tmp_path, others(40), [10])
    assert one.verify() == {}
    one.kafka.ids = "other"
    one.verify()
    assert shown(one, "verify-1") == "verify-2"
    one.kafka.ids = "id"
    assert one.verify() == {}
    assert shown(one, "verify-1") == "verify-1"


def test_a_report_in_which_a_batch_only_waits_is_not_about_it(tmp_path: Path) -> None:
    """Whatever becomes of the batch later, the older green did not look at it."""
    one = Ledger.made(tmp_path, [*others(10), *batch("b", 10)], [10])
    one.receipt("b", 10, 19)
    one.folder.streamed.unlink()
    assert one.verify() == {}
    one.publish(1, 10, 20)
    documents.write(one.folder.streamed, one.streamed)
    one.kafka.records = [*one.kafka.records[:19], one.kafka.records[10]]
    assert one.verify() != {}
    assert shown(one, "verify-1") == "verify-1"
    assert shown(one, "b") == "verify-2"


def test_runs_of_one_name_do_not_hide_each_other(tmp_path: Path) -> None:
    """At the same tick of a schedule an ingest and a verify run have the same name.

    The green of one is none of the other's.
    """
    one = Ledger.made(tmp_path, others(40), [10])
    assert one.verify() == {}
    report = one.verification(since_verified(one.folder)).run("scheduled__1")
    store(one.folder, report)
    assert one.conclude(report) == {}
    one.publish(1, 10, 20)
    renamed(one, 1, "scheduled__1")
    one.tamper(1, forged)
    assert "I8" in one.verify()
    paths = {of: of_run(one.folder, "scheduled__1", of) for of in Of}
    assert {of: path.parent.name for of, path in paths.items() if path} == {
        Of.INGEST: "verify-2",
        Of.VERIFY: "scheduled__1",
        Of.EITHER: "verify-2",
    }


def test_a_report_is_about_the_entry_that_it_saw(tmp_path: Path) -> None:
    """Ledger and checkpoint are put back from a copy, and another run publishes the micro-batch anew.

    Nothing is known of that yet.
    """
    one = Ledger.made(tmp_path, others(40), [10])
    old = one.copied(tmp_path / "old")
    assert one.verify() == {}
    one.publish(1, 10, 20)
    renamed(one, 1, "first")
    assert one.verify() == {}
    one.rolled_back(old)
    assert "I5" in one.verify()
    assert shown(one, "verify-2") == "verify-3", "the ledger ends before what it was green about"
    roll_back(one.folder, newest_link(one.folder))
    one.publish(1, 10, 30)
    renamed(one, 1, "second")
    assert shown(one, "second") == "verify-3", "not the green about the other one"
    one.verify()
    assert shown(one, "second") == "verify-4"


def test_an_older_green_does_not_pass_over_a_newer_red_about_its_batch(tmp_path: Path) -> None:
    """A record of the batch came a second time between the check of the one and the end of the other."""
    records = batch("run", 10)
    one = Ledger.made(tmp_path, [*records, *others(10), records[0]], [20])
    one.receipt("run", 0, 9)
    scope = since_verified(one.folder)
    older = one.look(scope)
    one.publish(1, 20, 21)
    assert "I3" in one.verify()
    with pytest.raises(BrokenInvariantError, check=Code.NEWER_RED.fits):
        conclude(one.folder, one.pipeline, scope, older)


@pytest.mark.parametrize("is_verified", [False, True])
def test_a_record_that_came_twice_stays_red(tmp_path: Path, *, is_verified: bool) -> None:
    """It lies behind all that the receipt claims, so only its micro-batch leads back to it."""
    records = batch("run", 10)
    one = Ledger.made(tmp_path, [*records, *others(10), records[0]], [20])
    one.receipt("run", 0, 9)
    if is_verified:
        assert one.verify() == {}
    one.publish(1, 20, 21)
    for scope in (None, None, one.everything, None):
        assert "I3" in one.verify(scope)


def test_a_red_of_all_there_is_survives_the_runs_beside_it(tmp_path: Path) -> None:
    """Runs with a higher number end first and prove what is new.

    They did not look at what the long one found.
    """
    one = Ledger.made(tmp_path, others(60), [2, 4, 6, 8])
    assert one.verify() == {}
    (path,) = (one.folder.events / "micro_batch=0").glob("*.parquet")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"important", b"IMPORTANT"))
    scope = one.everything
    long = one.verification(scope)
    for number in range(4, 10):
        one.publish(number, 2 * number, 2 * number + 2)
        one.verify()
    report = long.run("long")
    store(one.folder, report)
    assert "I8" in one.conclude(report, scope)
    assert 0 in read_verified(one.folder).recheck
    assert "I8" in one.verify()


def test_a_reset_beside_a_red_run_leaves_the_new_folder_alone(tmp_path: Path) -> None:
    """What it found is of a ledger that was moved aside."""
    one = Ledger.made(tmp_path, others(40), [10, 20])
    one.tamper(0, forged)
    scope = one.everything
    report = one.verification(scope).run("long")
    reset(one.folder, one.folder.root.with_name("p.reset"))
    store(one.folder, report)
    with pytest.raises(LedgerError, check=Code.RESET_MEANWHILE.fits):
        conclude(one.folder, one.pipeline, scope, report)
    assert read_verified(one.folder).recheck == {}


def test_a_checkpoint_that_was_discarded_keeps_nothing_from_being_proven(tmp_path: Path) -> None:
    """Power was cut after Spark's first plan.

    A red about something else then must not keep the rest from being proven.
    """
    one = Ledger.made(tmp_path, others(40), [])
    identity = documents.read(one.folder.identity, Identity)

    def of_checkpoint(name: str | None) -> None:
        documents.write(one.folder.identity, msgspec.structs.replace(identity, checkpoint=name))
        (one.folder.checkpoint / "metadata").write_text(json.dumps({"id": name}))

    of_checkpoint("c0")
    assert "I9" in one.verify()
    of_checkpoint(None)
    roll_back(one.folder, newest_link(one.folder))
    of_checkpoint("c1")
    one.publish(0, 0, 10)
    one.publish(1, 10, 20)
    one.tamper(0, forged)
    assert one.verify().keys() >= {"I8"}
    assert read_verified(one.folder).until == 1


def test_what_is_checked_again_does_not_stop_the_counts_per_minute(tmp_path: Path) -> None:
    """A micro-batch whose folder is gone is left out until it is put back."""
    one = Ledger.made(tmp_path, others(30), [10, 20])
    object.__setattr__(one.pipeline, "kept_per_minute", True)
    assert one.verify() == {}
    one.folder.kept_per_minute.unlink()
    gone = moved(one.folder.events / "micro_batch=0" / "_entry.json")
    one.verify(one.everything)
    per_minute.extend(one.folder, read_verified(one.folder))
    assert sum(pq.read_table(one.folder.kept_per_minute).column("kept").to_pylist()) == 4
    gone.rename(one.folder.events / "micro_batch=0" / "_entry.json")
    assert one.verify() == {}
    assert sum(pq.read_table(one.folder.kept_per_minute).column("kept").to_pylist()) == 8
