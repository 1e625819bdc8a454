"""What becomes of a red: it stays until what it names is mended, and no longer.

Whatever runs beside it, ages out or is compacted meanwhile.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from headrace import documents
from headrace.contract.limits import Limits
from headrace.errors import BrokerError, Code, LedgerError, UnsupportedLoginError
from headrace.kafka.record_batch import RecordBatch
from headrace.ledger.entries import entry_path, newest_link
from headrace.ledger.entry import Entry
from headrace.ledger.progress import Streamed, read_verified, roll_back
from headrace.ledger.receipts import ReceiptState
from headrace.report import wording
from headrace.verify.result import Report
from headrace.verify.run import Verification
from headrace.verify.scope import Scope, since_verified
from headrace.verify.scope import of_run as scope_of_run
from headrace.verify.settle import draw_number
from headrace.verify.stored import Of, find, of_run, store
from ledgers import GAP, Ledger, batch, forged, others


def damaged(one: Ledger, number: int) -> tuple[Path, bytes]:
    """Change a byte of a micro-batch's file; returns the file and what was in it."""
    (path,) = (one.folder.events / f"micro_batch={number}").glob("*.parquet")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"important", b"IMPORTANT"))
    return path, content


def shown(one: Ledger, run: str | None) -> Report:
    """The report that is shown for a run."""
    return find(one.folder, run)[1]


def kept(one: Ledger, run: Verification, name: str) -> Report:
    """Let a run look, and store what it found."""
    report = run.run(name)
    store(one.folder, report)
    return report


@contextmanager
def without_login(one: Ledger) -> Iterator[None]:
    """The client that reads record batches can't log in."""

    def refused(*_: object) -> None:
        raise UnsupportedLoginError("GSSAPI")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(one.kafka), "record_batches", refused)
        yield


def marker(at: int, until: int) -> RecordBatch:
    """What explains some gaps."""
    return RecordBatch(
        at, until, is_control=True, is_transactional=True, producer_id=1, records=1, is_abort=True
    )


@pytest.mark.parametrize("is_red_first", [False, True])
def test_only_a_run_that_began_later_settles_a_red(tmp_path: Path, *, is_red_first: bool) -> None:
    """A long run has the lower number, and saw the damaged file after the short one had found it good."""
    one = Ledger.made(tmp_path, others(60), [10, 20])
    assert one.verify() == {}
    scope = one.everything
    long, short = one.verification(scope), one.verification(scope)
    green = kept(one, short, "short")
    if not is_red_first:
        assert one.conclude(green, scope) == {}
    damaged(one, 0)
    red = kept(one, long, "long")
    assert one.conclude(red, scope) != {}
    if is_red_first:
        with pytest.raises(AssertionError):  # a newer report found a problem
            one.conclude(green, scope)
    assert shown(one, "verify-1").run == "long"
    assert "I8" in one.verify()


def test_a_red_that_outlives_a_roll_back_vouches_for_no_other_entry(tmp_path: Path) -> None:
    """The copy that was put back holds another micro-batch 1, which was never verified, and is wrong."""
    one = Ledger.made(tmp_path, others(60), [10])
    assert one.verify() == {}
    start = one.copied(tmp_path / "start")
    one.publish(1, 10, 25)
    one.tamper(1, forged, sign=True)
    wrong = one.copied(tmp_path / "wrong")
    one.rolled_back(start)
    one.publish(1, 10, 20)
    one.publish(2, 20, 30)
    assert one.verify() == {}
    next((one.folder.events / "micro_batch=1").glob("*.parquet")).unlink()
    assert "I8" in one.verify(one.everything)
    one.rolled_back(wrong)
    (path,) = (one.folder.events / "micro_batch=1").glob("*.parquet")
    content = path.read_bytes()
    path.unlink()
    roll_back(one.folder, newest_link(one.folder))
    one.publish(2, 25, 35)
    assert "I8" in one.verify()
    path.write_bytes(content)
    one.kafka.first = 25
    assert "I7" in one.verify()


@pytest.mark.parametrize("how", ["aged out", "unknown rules"])
def test_a_run_that_judged_nothing_settles_no_red(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lists the micro-batch, and did not compare its rows with records."""
    one = Ledger.made(tmp_path, others(30), [10, 20])
    assert one.verify() == {}
    scope, records = one.everything, one.kafka.records
    one.kafka.records = [(key, b"another, important") for key, _ in records[:10]] + list(records[10:])
    red = kept(one, one.verification(scope), "red")
    with monkeypatch.context() as patch:
        if how == "aged out":
            one.kafka.first = 10
        else:
            for module in ("judging", "grouping"):
                patch.setattr(f"headrace.verify.{module}.ENTRY_RULES", frozenset({2}))
        assert one.look(one.everything).state == "green"
    assert one.conclude(red, scope) != {}
    assert 0 in read_verified(one.folder).recheck
    assert one.verify() != {}


def test_what_differs_is_red_though_another_record_was_compacted(tmp_path: Path) -> None:
    """Only what is gone says nothing."""
    one = Ledger.made(tmp_path, others(40), [20, 40])
    assert one.verify() == {}
    records = list(one.kafka.records)
    records[3], records[5] = (b"x", b"important, another"), GAP
    one.kafka.records = records
    assert one.look(one.everything).state == "red"


def test_a_batch_whose_record_came_twice_is_red_by_itself_too(tmp_path: Path) -> None:
    """`headrace verify NAME RUN` looks where the second one lies."""
    records = batch("x", 10)
    one = Ledger.made(tmp_path, [*records, *others(10), records[0]], [20])
    one.receipt("x", 0, 9)
    assert one.verify() == {}
    one.publish(1, 20, 21)
    assert "I3" in one.verify()
    assert "I3" in one.verify(scope_of_run(one.folder, "x"))
    assert "x" in read_verified(one.folder).recheck_receipts


def test_a_record_of_a_killed_try_is_found_when_the_batch_is_complete(tmp_path: Path) -> None:
    """It was published and proven while the receipt was open, and lies before all that the receipt claims."""
    records = batch("b", 10)
    one = Ledger.made(tmp_path, [records[0], *others(9), *records], [10])
    receipt = msgspec.structs.replace(
        one.made_receipt("b", 10, 19), state=ReceiptState.OPEN, digest=None, completed_at=None, landings=[]
    )
    documents.write(one.folder.unverified_receipt("b"), receipt)
    assert one.verify() == {}
    one.publish(1, 10, 20)
    one.receipt("b", 10, 19)
    for scope in (None, None, one.everything):
        assert "I3" in one.verify(scope)


@pytest.mark.parametrize("how", ["entry", "folder", "content"])
def test_a_run_whose_entry_is_gone_does_not_show_an_older_green(tmp_path: Path, how: str) -> None:
    """Nothing says any more that the micro-batch was this run's."""
    one = Ledger.made(tmp_path, [*others(10), *batch("x", 10), *others(10)], [10, 20, 30])
    path = entry_path(one.folder, 2)
    documents.write(path, msgspec.structs.replace(documents.read(path, Entry), run="y"))
    assert one.verify() == {}
    match how:
        case "entry":
            path.unlink()
        case "folder":
            shutil.rmtree(path.parent)
        case _:
            path.write_bytes(b"garbage")
    assert one.verify(one.everything) != {}
    found = of_run(one.folder, "y", Of.INGEST)
    assert found is not None
    assert found.parent.name == "verify-2"


def test_a_red_about_what_a_copy_does_not_hold_is_not_shown_for_its_runs(tmp_path: Path) -> None:
    """Ledger and checkpoint were put back from before that micro-batch.

    A newer green is about what is there now.
    """
    one = Ledger.made(tmp_path, others(60), [10])
    assert one.verify() == {}
    old = one.copied(tmp_path / "old")
    one.publish(1, 10, 20)
    one.publish(2, 20, 30)
    assert one.verify() == {}
    shutil.rmtree(one.folder.events / "micro_batch=1")
    assert one.verify() != {}
    one.rolled_back(old)
    roll_back(one.folder, newest_link(one.folder))
    assert one.verify(one.everything) == {}
    found = of_run(one.folder, "run", Of.INGEST)
    assert found is not None
    assert documents.read(found, Report).state == "green"


def test_a_red_run_that_was_settled_by_hand_is_green(tmp_path: Path) -> None:
    """No run of the DAG looks at it again."""
    one = Ledger.made(tmp_path, others(30), [10])
    path, content = damaged(one, 0)
    assert one.verify() != {}
    path.write_bytes(content)
    scope = one.everything
    assert one.conclude(kept(one, one.verification(scope), "by_hand__x"), scope) == {}
    assert one.verify() == {}
    assert shown(one, "run").run == "by_hand__x"


def test_the_page_of_a_verify_run_without_a_report_shows_no_other(tmp_path: Path) -> None:
    """An ingest of the same name has one."""
    one = Ledger.made(tmp_path, others(30), [10])
    path = entry_path(one.folder, 0)
    documents.write(path, msgspec.structs.replace(documents.read(path, Entry), run="scheduled__1"))
    assert one.verify() == {}
    assert of_run(one.folder, "scheduled__1", Of.VERIFY) is None
    assert of_run(one.folder, "scheduled__1", Of.INGEST) is not None


def test_the_newest_report_is_not_a_green_about_a_part(tmp_path: Path) -> None:
    """As long as a red about the rest is not settled."""
    one = Ledger.made(tmp_path, others(40), [10, 20])
    assert one.verify() == {}
    path, content = damaged(one, 1)
    assert one.verify(one.everything) != {}
    assert one.verify(Scope(checkpoint="c1", micro_batches=[0], receipts=[], updates_verified=False)) == {}
    assert shown(one, None).run == "verify-2"
    path.write_bytes(content)
    assert one.verify() == {}
    assert shown(one, None).run == "verify-4"


@pytest.mark.parametrize("how", ["damaged", "removed", "its folder too"])
def test_where_the_report_of_a_red_is_gone_no_older_green_is_shown(tmp_path: Path, how: str) -> None:
    """Neither as the newest, nor for the runs that it covered; another verify run settles it."""
    one = Ledger.made(tmp_path, others(40), [10, 20])
    assert one.verify() == {}
    path, content = damaged(one, 1)
    assert one.verify(one.everything) != {}
    document = find(one.folder, None)[0]
    match how:
        case "damaged":
            document.write_bytes(b"garbage")
        case "removed":
            document.unlink()
        case _:
            shutil.rmtree(document.parent)
    newest = newest_link(one.folder)
    assert newest
    run = newest.entry.run
    for ask in (
        lambda: find(one.folder, None),
        lambda: find(one.folder, run),
        lambda: of_run(one.folder, run),
    ):
        with pytest.raises(LedgerError, check=Code.DOCUMENT_DAMAGED.fits):
            ask()
    path.write_bytes(content)
    assert one.verify() == {}
    assert shown(one, None).is_green
    assert shown(one, run).is_green


def test_a_red_that_names_nothing_is_missed_where_it_is_damaged(tmp_path: Path) -> None:
    """Only that it was written last says so."""
    one = Ledger.made(tmp_path, others(40), [10, 20])
    assert one.verify() == {}
    (one.folder.events / "foreign.parquet").write_bytes(b"")
    assert one.verify() != {}
    document = find(one.folder, None)[0]
    document.write_bytes(b"garbage")
    with pytest.raises(LedgerError, check=Code.DOCUMENT_DAMAGED.fits):
        find(one.folder, None)
    (one.folder.events / "foreign.parquet").unlink()
    assert one.verify() == {}
    assert shown(one, None).is_green


@pytest.mark.parametrize("then", ["aged out", "compacted"])
def test_a_damaged_receipt_casts_no_doubt_on_a_micro_batch(tmp_path: Path, then: str) -> None:
    """What it claims no longer says where a record does not belong."""
    one = Ledger.made(tmp_path, [*batch("b", 20), *others(20)], [20, 40])
    one.receipt("b", 0, 19)
    assert one.verify() == {}
    path = one.folder.verified_receipt("b")
    content = path.read_bytes()
    path.write_bytes(re.sub(rb'("highest_offset":\s*)19', rb"\g<1>10", content))
    assert one.verify(one.everything) != {}
    path.write_bytes(content)
    if then == "aged out":
        one.kafka.first = 25
    else:
        one.kafka.records = [
            GAP if offset == 15 else record for offset, record in enumerate(one.kafka.records)
        ]
    for scope in (None, one.everything, None):
        assert one.verify(scope) == {}


def test_a_receipt_that_came_back_is_green_though_a_record_was_compacted(tmp_path: Path) -> None:
    """It was verified while Kafka had the record; its micro-batches are not looked at again."""
    one = Ledger.made(tmp_path, [*batch("b", 20), *others(20)], [20, 40])
    one.receipt("b", 0, 19)
    assert one.verify() == {}
    path = one.folder.verified_receipt("b")
    content = path.read_bytes()
    path.unlink()
    assert "I1" in one.verify(one.everything)
    path.write_bytes(content)
    one.kafka.records = [GAP if offset == 5 else record for offset, record in enumerate(one.kafka.records)]
    for scope in (None, None, one.everything):
        assert one.verify(scope) == {}


def test_a_client_that_can_not_log_in_makes_nothing_red_for_good(tmp_path: Path) -> None:
    """What was proven with every gap explained has more gaps now.

    Kafka has removed records since, whoever looks.
    """
    one = Ledger.made(tmp_path, others(30), [10, 20, 30])
    assert one.verify() == {}
    one.kafka.records = [GAP if offset == 17 else record for offset, record in enumerate(one.kafka.records)]
    with without_login(one):
        assert one.verify(one.everything) == {}
    assert one.verify(one.everything) == {}


def test_gaps_that_were_not_checked_are_counted_once(tmp_path: Path) -> None:
    """However often a micro-batch is looked at.

    And as long as nobody could look at them, also when their records age out.
    """
    one = Ledger.made(
        tmp_path, [GAP if offset in {4, 5} else record for offset, record in enumerate(others(20))], [10, 20]
    )
    with without_login(one):
        path, content = damaged(one, 0)
        for _ in range(3):
            report = one.look()
            assert report.gaps_not_checked == 2
            one.conclude(report)
        path.write_bytes(content)
        assert one.verify() == {}
    one.kafka.first = 10
    report = one.look(one.everything)
    assert one.conclude(report, one.everything) == {}
    assert "2 gaps could not be checked" in wording.outcome(report).sentence
    assert "2 gaps could not be checked" in wording.outcome(one.look()).sentence


def test_gaps_that_are_checked_at_last_are_forgotten(tmp_path: Path) -> None:
    """Whatever else has aged out by then."""
    one = Ledger.made(
        tmp_path,
        [GAP if offset in {14, 15} else record for offset, record in enumerate(others(30))],
        [10, 20, 30],
    )
    with without_login(one):
        assert one.verify() == {}
    one.kafka.batches = [marker(14, 15)]
    one.kafka.first = 10
    assert one.verify(one.everything) == {}
    assert read_verified(one.folder).gaps_not_checked == {}
    one.kafka.records = [GAP if offset == 17 else record for offset, record in enumerate(one.kafka.records)]
    assert one.verify(one.everything) == {}


def test_gaps_of_what_was_rolled_back_are_forgotten(tmp_path: Path) -> None:
    """Those of the micro-batches that are there count."""
    one = Ledger.made(
        tmp_path, [GAP if offset in {14, 15} else record for offset, record in enumerate(others(40))], [10]
    )
    old = one.copied(tmp_path / "old")
    one.publish(1, 10, 20)
    with without_login(one):
        assert one.verify() == {}
    one.rolled_back(old)
    roll_back(one.folder, newest_link(one.folder))
    assert one.look().gaps_not_checked == 0


def test_documents_that_are_folders_are_no_traceback(tmp_path: Path) -> None:
    """Somebody unpacked an archive into the wrong place."""
    one = Ledger.made(tmp_path, others(40), [10, 20])
    assert one.verify() == {}
    (one.folder.reports / "odd" / "report.json").mkdir(parents=True)
    path = entry_path(one.folder, 1)
    path.unlink()
    path.mkdir()
    assert one.verify(one.everything) != {}
    assert shown(one, "run").state == "red"
    one.folder.report_number.unlink()
    one.folder.report_number.mkdir()
    with pytest.raises(LedgerError, check=Code.UNWRITTEN.fits):
        draw_number(one.folder, "a test")


def hidden(tmp_path: Path, limit: float) -> tuple[Ledger, datetime]:
    """A ledger with a limit on lag, whose stream has just ended, and whose records from 20 on are hidden."""
    one = Ledger.made(tmp_path, others(40), [20])
    object.__setattr__(one.pipeline, "limits", Limits(lag=limit))
    now = datetime.now(UTC)
    ended = Streamed(run="run", started_at=now - timedelta(minutes=1), ended_at=now, receipts=[])
    documents.write(one.folder.streamed, ended)
    one.kafka.hidden_from = 20
    return one, now


@pytest.mark.parametrize("error", [BrokerError("silent"), UnsupportedLoginError("GSSAPI")])
def test_replayed_records_in_a_young_transaction_do_not_lag(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it began nobody can say; by the records' timestamps nothing can be told."""
    one, now = hidden(tmp_path, 3600.0)
    one.kafka.waiting_at = int((now - timedelta(days=900)).timestamp() * 1000)

    def ask(*_: object) -> datetime:
        raise error

    monkeypatch.setattr(type(one.kafka), "transaction_start", ask)
    assert one.look().state == "green"


@pytest.mark.parametrize("minutes", [-12, 12])
def test_a_transaction_is_as_old_as_its_coordinator_says(tmp_path: Path, minutes: int) -> None:
    """Not as its records' timestamps say, which may be a little old or of the future."""
    one, now = hidden(tmp_path, 300.0)
    one.kafka.waiting_at = int((now + timedelta(minutes=minutes)).timestamp() * 1000)
    one.kafka.coordinated = now - timedelta(seconds=5)
    assert one.look().state == "green"
    one.kafka.coordinated = now - timedelta(hours=3)
    report = one.look()
    assert report.state == "red"
    assert report.limits[0].found == pytest.approx(3 * 3600, abs=60)


def test_a_transaction_that_has_just_ended_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its coordinator no longer knows it, since the brokers have aborted it."""
    one, now = hidden(tmp_path, 3600.0)
    one.kafka.waiting_at = int((now - timedelta(minutes=16)).timestamp() * 1000)

    def ended(*_: object) -> None:
        one.kafka.hidden_from = None

    monkeypatch.setattr(type(one.kafka), "transaction_start", ended)
    (row,) = one.look().waiting.partitions
    assert row.hidden is None


def test_a_scope_that_is_old_takes_in_what_is_red_by_now(tmp_path: Path) -> None:
    """What an earlier red named is looked at by each run."""
    one = Ledger.made(tmp_path, others(40), [10, 20])
    assert one.verify() == {}
    damaged(one, 0)
    assert one.verify(one.everything) != {}
    assert since_verified(one.folder).micro_batches == [0]
