"""What is left of reports and receipts when a pipeline runs for long.

Enough, and no more, and nothing that a later read needs.
"""

import os
import tempfile
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import documents
from headrace.contract.retention import Retention
from headrace.ledger import verified_receipts
from headrace.ledger.folder import Folder
from headrace.ledger.progress import Mark, Verified, completed_receipts, read_streamed, read_verified
from headrace.ledger.receipts import Receipt, receipt_of, receipts
from headrace.report.conclusion import conclude
from headrace.verify.retention import LOT, tidy
from headrace.verify.scope import Scope, everything, since_verified
from headrace.verify.scope import of_run as scope_of_run
from headrace.verify.stored import DOCUMENT, PAGE, Of, expire, find, highest_number, of_run
from ledgers import Ledger, batch, others

DAY = 86_400.0
RETENTION = Retention(reports=10 * DAY, receipts=10 * DAY)
LATE = 10 * DAY * (1 + LOT) + 60
"""Seconds after which what was written before is removed."""


def kept_for(one: Ledger, retention: Retention) -> Ledger:
    """The ledger of a pipeline with this retention."""
    object.__setattr__(one.pipeline, "retention", retention)
    return one


def passes(folder: Folder, seconds: float = LATE) -> None:
    """Let time pass for what is kept."""
    for path in [*folder.reports.glob(f"*/{DOCUMENT}"), *folder.verified_receipts.glob("*.json")]:
        at = path.stat().st_mtime - seconds
        os.utime(path, (at, at))


def reported(folder: Folder) -> list[str]:
    """The runs of the reports that are there."""
    return sorted(path.name for path in folder.reports.iterdir() if path.is_dir())


def batches(base: Path, count: int, size: int = 4) -> Ledger:
    """Records of `count` batches, of which none is published, and as many foreign ones behind them."""
    records = [record for number in range(count) for record in batch(f"run-{number}", size)]
    return kept_for(Ledger.made(base, [*records, *others(40)]), RETENTION)


def ingests(one: Ledger, number: int, size: int = 4) -> None:
    """A run makes a batch, and a stream publishes it."""
    one.publish(number, number * size, (number + 1) * size)
    one.receipt(f"run-{number}", number * size, (number + 1) * size - 1)


def test_forty_runs_leave_as_many_files_as_twenty(tmp_path: Path) -> None:
    """What lies outside the published records does not grow with the runs, except expired receipts."""
    one = batches(tmp_path, 40)
    counts = []
    for number in range(40):
        ingests(one, number)
        assert one.verify() == {}
        passes(one.folder, DAY)
        others_of = [
            path
            for path in one.folder.root.rglob("*")
            if path.is_file() and not path.is_relative_to(one.folder.events)
        ]
        counts.append(
            sum(not path.is_relative_to(one.folder.checkpoint) for path in others_of)
        )  # Spark's own: it keeps 100
    assert max(counts[20:]) <= max(counts[:20])
    assert len(reported(one.folder)) <= 12
    assert len(list(receipts(one.folder, verified=True))) <= 12
    assert len(verified_receipts.journaled(one.folder)) <= 13
    assert len(one.folder.micro_batches()) == 40
    assert one.verify(one.everything) == {}
    assert highest_number(one.folder) == read_verified(one.folder).number == 41


def test_what_is_young_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most runs only list the folders: until the oldest is too old by an eighth."""
    one = batches(tmp_path, 2)
    for number in range(2):
        ingests(one, number)
        assert one.verify() == {}
    passes(one.folder, 10 * DAY + 60)
    monkeypatch.setattr("headrace.verify.stored._decoded", None)
    monkeypatch.setattr(verified_receipts, "journaled", None)
    tidy(one.folder, RETENTION)
    assert len(reported(one.folder)) == 2


def expired(tmp_path: Path) -> Ledger:
    """Two batches, verified; the receipt of the first has expired."""
    one = batches(tmp_path, 3)
    ingests(one, 0)
    assert one.verify() == {}
    passes(one.folder)
    ingests(one, 1)
    assert one.verify() == {}
    assert receipt_of(one.folder, "run-0") is None
    assert list(verified_receipts.journaled(one.folder)) == ["run-1"]
    return one


def states(one: Ledger, scope: Scope | None = None) -> dict[str, str]:
    """The invariants that are not held."""
    return {each.id: each.state.value for each in one.look(scope).invariants if each.state != "held"}


def test_of_an_expired_receipt_the_first_invariant_is_not_checked(tmp_path: Path) -> None:
    """By `headrace verify`, of everything and of the run; a run's verify has nothing to do with it.

    None of them is red.
    """
    one = expired(tmp_path)
    assert states(one) == {}
    assert states(one, everything(one.folder)) == {"I1": "not_checked"}
    assert everything(one.folder).receipts == ["run-1"]
    assert states(one, msgspec.structs.replace(scope_of_run(one.folder, "run"), has_expired=False)) == {}
    lone = Scope(
        checkpoint="c1",
        micro_batches=[0],
        receipts=[],
        updates_verified=False,
        has_expired=verified_receipts.has_expired(one.folder, "run-0"),
    )
    assert states(one, lone) == {"I1": "not_checked"}
    assert one.verify(one.everything) == {}


def test_a_receipt_that_was_lost_is_not_taken_for_expired(tmp_path: Path) -> None:
    """Only a line that says so makes it one: what was removed by hand is red."""
    one = expired(tmp_path)
    one.folder.verified_receipt("run-1").unlink()
    assert "its receipt was there, complete, and is not any more" in one.verify(one.everything)["I1"][0]


def test_an_expired_receipt_that_was_put_back_counts_again(tmp_path: Path) -> None:
    """From a copy of the folder: it is read back as any other."""
    one = batches(tmp_path, 2)
    ingests(one, 0)
    assert one.verify() == {}
    path = one.folder.verified_receipt("run-0")
    content = path.read_bytes()
    passes(one.folder)
    ingests(one, 1)
    assert one.verify() == {}
    path.write_bytes(content)
    assert everything(one.folder).receipts == ["run-0", "run-1"]
    assert states(one, everything(one.folder)) == {}


def test_receipts_that_are_still_needed_are_kept(tmp_path: Path) -> None:
    """One unverified, one to be rechecked, one that the last stream names, and one that was altered."""
    one = batches(tmp_path, 4)
    for number in range(4):
        ingests(one, number)
    altered = one.folder.unverified_receipt("run-3")
    intact = altered.read_bytes()
    documents.write(altered, msgspec.structs.replace(documents.read(altered, Receipt), records=5))
    assert "I1" in one.verify()
    assert list(read_verified(one.folder).recheck_receipts) == ["run-3"]
    os.utime(altered, (0, 0))
    passes(one.folder)
    tidy(one.folder, RETENTION)
    assert {receipt.run for receipt in receipts(one.folder, verified=True)} == {"run-0", "run-1", "run-2"}, (
        "streamed.json names them"
    )
    documents.write(one.folder.streamed, one.streamed)
    one.folder.verified_receipt("run-2").write_text(one.folder.verified_receipt("run-2").read_text() + " ")
    passes(one.folder)
    tidy(one.folder, RETENTION)
    assert [receipt.run for receipt in receipts(one.folder, verified=True)] == ["run-2"]
    assert [receipt.run for receipt in receipts(one.folder)] == ["run-3"]
    altered.write_bytes(intact)
    assert one.verify() == {}


@pytest.mark.parametrize(
    ("where", "name"),
    [(documents, "sync"), (Path, "unlink"), (documents, "sync_directory"), (documents, "replace")],
)
def test_a_crash_while_a_receipt_expires_is_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str
) -> None:
    """With the line and the file, with the line alone, and with what the journal has not forgotten yet.

    All is green, and the next run ends it.
    """
    one = batches(tmp_path, 2)
    ingests(one, 0)
    assert one.verify() == {}
    documents.write(one.folder.streamed, one.streamed)
    passes(one.folder)

    def killed(*_: Any, **__: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(where, name, killed)
    with pytest.raises(KeyboardInterrupt):
        verified_receipts.expire(one.folder, inf, inf, keep=())
    assert one.verify(one.everything) == {}
    ingests(one, 1)
    assert one.verify() == {}
    passes(one.folder)
    documents.write(one.folder.streamed, one.streamed)
    tidy(one.folder, RETENTION)
    assert verified_receipts.journaled(one.folder) == {}
    assert verified_receipts.expired(one.folder) == {"run-0", "run-1"}
    assert one.verify(one.everything) == {}


def test_a_receipt_expires_under_a_run_that_looks_at_it(tmp_path: Path) -> None:
    """Another run verified it and removed it meanwhile.

    The first one is green all the same, and writes no line about it.
    """
    one = batches(tmp_path, 2)
    ingests(one, 0)
    scope = since_verified(one.folder)
    report = one.look(scope)
    assert one.verify() == {}
    documents.write(one.folder.streamed, one.streamed)
    verified_receipts.expire(one.folder, inf, inf, keep=())
    assert one.conclude(report, scope) == {}
    assert verified_receipts.journaled(one.folder) == {}
    assert states(one, scope) == {"I1": "not_checked"}


def test_a_stream_that_knew_a_receipt_before_it_expired(tmp_path: Path) -> None:
    """Its account names the batch; no later run misses the receipt, and no later account names it."""
    one = batches(tmp_path, 2)
    ingests(one, 0)
    account = read_streamed(one.folder)
    assert one.verify() == {}
    documents.write(one.folder.streamed, one.streamed)
    passes(one.folder)
    tidy(one.folder, RETENTION)
    assert account is not None
    documents.write(one.folder.streamed, account)
    assert since_verified(one.folder).receipts == []
    assert one.verify() == {}
    assert completed_receipts(one.folder) == []
    assert one.streamed.receipts == []


def test_an_older_green_does_not_come_to_light(tmp_path: Path) -> None:
    """A red that nothing has settled stays, and so does all that looked after it."""
    one = batches(tmp_path, 3)
    ingests(one, 0)
    assert one.verify() == {}
    receipt = one.folder.receipt("run-0")
    documents.write(receipt, msgspec.structs.replace(documents.read(receipt, Receipt), seed=2))
    assert "I1" in one.verify(one.everything)
    passes(one.folder)
    for number in (1, 2):  # months later, by runs that look at one micro-batch alone
        ingests(one, number)
        assert (
            one.verify(Scope(checkpoint="c1", micro_batches=[number], receipts=[], updates_verified=False))
            == {}
        )
        passes(one.folder)
        tidy(one.folder, RETENTION)
    assert reported(one.folder) == ["verify-2", "verify-3", "verify-4"]
    found = of_run(one.folder, "run-0", Of.INGEST)
    assert found is not None
    assert found.parent.name == "verify-2"
    assert find(one.folder, None)[1].run == "verify-2"


def test_a_red_that_later_runs_repeat_goes_when_it_is_old(tmp_path: Path) -> None:
    """Nobody mends it for months: the newest red says the same, and the reports do not grow in number."""
    one = kept_for(Ledger.made(tmp_path, others(200), [10]), RETENTION)
    one.tamper(0, lambda table: table.slice(1))
    for _ in range(30):
        assert "I8" in one.verify()
        passes(one.folder, DAY)
    assert len(reported(one.folder)) <= 12
    assert find(one.folder, None)[1].run == "verify-30"
    found = of_run(one.folder, "run", Of.INGEST)
    assert found is not None
    assert found.parent.name == "verify-30"


def test_a_red_goes_before_the_greens_that_began_with_it(tmp_path: Path) -> None:
    """Two runs at once: the red found it after the higher-numbered green began, so the green goes first."""
    one = kept_for(Ledger.made(tmp_path, others(60), [10]), RETENTION)
    (one.folder.events / "stray.parquet").write_text("x")
    scope = since_verified(one.folder)
    red = one.verification(scope)
    (one.folder.events / "stray.parquet").rename(tmp_path / "stray.parquet")
    green = one.verification(scope)
    report = green.run("green")
    documents.write(one.folder.report("green") / DOCUMENT, report)
    (tmp_path / "stray.parquet").rename(one.folder.events / "stray.parquet")
    later = red.run("red")
    assert (later.number, later.seen) == (1, 2)
    documents.write(one.folder.report("red") / DOCUMENT, later)
    found = of_run(one.folder, "run", Of.INGEST)
    assert found is not None
    assert found.parent.name == "red"
    os.utime(one.folder.report("red") / DOCUMENT, (0, 0))
    tidy(one.folder, RETENTION)
    assert reported(one.folder) == ["green", "red"]


def account(
    number: int,
    seen: int,
    run: str,
    items: set[int],
    named: set[int],
    *,
    is_red: bool,
    everything: bool = False,
) -> dict[str, Any]:
    """What of a report says which runs it covers, and how."""
    return {
        "number": number,
        "seen": seen,
        "run": run,
        "hashes": {"entries": {}},
        "ever": {"micro_batches": 3},
        "receipts": [],
        "micro_batches": [{"id": item} for item in sorted(items)],
        "aged_out": [],
        "invariants": [{"id": "I8", "state": "broken" if is_red else "held"}],
        "recheck": {"micro_batches": sorted(named), "receipts": [], "everything": everything},
    }


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Reports about three micro-batches, in the order of their numbers."""
    count = draw(st.integers(2, 7))
    found = []
    for number in range(1, count + 1):
        is_red = draw(st.booleans())
        items = draw(st.sets(st.integers(0, 2)))
        named = draw(st.sets(st.sampled_from(sorted(items)))) if items and is_red else set()
        seen = draw(st.integers(number, count)) if is_red else number
        run = draw(st.sampled_from(["scheduled__", "by_hand__"])) + str(number)
        everything = is_red and draw(st.booleans()) and draw(st.booleans())
        found.append(account(number, seen, run, items, named, is_red=is_red, everything=everything))
    return found


def shown(base: Path, reports: list[dict[str, Any]], written_at: list[int]) -> tuple[str | None, str | None]:
    """Which report the tab of a run shows that published everything, before and after older ones expired."""
    folder = Folder(base / "p")
    mark = Mark(number=2, sha256="0" * 64, proven_by=1)
    # Without entries: each micro-batch may be the run's.
    documents.write(folder.verified, Verified(mark=mark))
    for report, at in zip(reports, written_at, strict=True):
        path = folder.report(report["run"]) / DOCUMENT
        path.parent.mkdir(parents=True)
        path.write_bytes(msgspec.json.encode(report))
        os.utime(path, (at, at))
    before = of_run(folder, "run", Of.INGEST)
    expire(folder, 2.0, inf)
    after = of_run(folder, "run", Of.INGEST)
    assert reports[-1]["run"] in reported(folder)
    return before.parent.name if before else None, after.parent.name if after else None


@settings(max_examples=200, deadline=None)
@given(histories(), st.data())
def test_no_red_turns_green_whatever_has_expired(reports: list[dict[str, Any]], data: st.DataObject) -> None:
    """The tab of a run shows a red before some reports are removed: then a red after it, or none."""
    red = {report["run"] for report in reports if report["invariants"][0]["state"] == "broken"}
    with tempfile.TemporaryDirectory() as base:
        before, after = shown(Path(base), reports, [data.draw(st.integers(0, 2)) for _ in reports])
    assert before not in red or after is None or after in red


def test_of_two_reds_that_ended_together_the_later_one_stays(tmp_path: Path) -> None:
    """Both looked at micro-batch 2, and only the one with the higher number, which counts, names it."""
    reports = [
        account(1, 2, "z", {0, 2}, {0}, is_red=True),
        account(2, 2, "a", {0, 1, 2}, {2}, is_red=True),
        account(3, 3, "green", {0, 1}, set(), is_red=False),
    ]
    for number in (0, 1):  # however a folder is listed
        reports[number]["run"], reports[1 - number]["run"] = "za" if number else "az"
        assert shown(tmp_path / str(number), reports, [0, 0, 0]) == (reports[1]["run"],) * 2


def test_the_newest_report_stays_however_old(tmp_path: Path) -> None:
    """A pipeline that was off for a year still has its last report, and the next one has the next number."""
    one = kept_for(Ledger.made(tmp_path, others(60), [10]), RETENTION)
    for _ in range(3):
        assert one.verify() == {}
    passes(one.folder, 365 * DAY)
    tidy(one.folder, RETENTION)
    assert reported(one.folder) == ["verify-3"]
    one.folder.report_number.unlink()
    one.folder.verified.unlink()
    assert highest_number(one.folder) == 3


def test_what_else_lies_in_a_reports_folder_stays(tmp_path: Path) -> None:
    """Only the two files are removed; a damaged report is one that no read asks for."""
    one = kept_for(Ledger.made(tmp_path, others(60), [10]), RETENTION)
    for _ in range(3):
        assert one.verify() == {}
    (one.folder.report("verify-1") / "notes.txt").write_text("mine")
    (one.folder.report("verify-2") / DOCUMENT).write_text("{")
    passes(one.folder)
    tidy(one.folder, RETENTION)
    assert reported(one.folder) == ["verify-1", "verify-3"]
    assert [path.name for path in one.folder.report("verify-1").iterdir()] == ["notes.txt"]


def test_a_crash_leaves_no_page_without_its_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a page would be shown, whatever newer reports say; the next run removes the rest."""
    one = kept_for(Ledger.made(tmp_path, others(60), [10]), RETENTION)
    for _ in range(2):
        assert one.verify() == {}
    passes(one.folder)
    unlink = Path.unlink

    def killed(path: Path, *, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        tidy(one.folder, RETENTION)
    left = one.folder.report("verify-1")
    assert ((left / PAGE).exists(), (left / DOCUMENT).exists()) == (False, True)
    tidy(one.folder, RETENTION)
    assert reported(one.folder) == ["verify-2"]


def test_a_failure_to_remove_is_no_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A green stays green; the next run tries again."""
    one = kept_for(Ledger.made(tmp_path, others(60), [10]), RETENTION)
    scope = since_verified(one.folder)
    report = one.look(scope)

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("headrace.verify.retention.expire", refused)
    conclude(one.folder, one.pipeline, scope, report)
    assert "old reports and receipts were not removed" in caplog.text


def test_nothing_is_removed_beside_another_ledger(tmp_path: Path) -> None:
    """`verified.json` is about another checkpoint: it may come back, and then what it named counts."""
    one = kept_for(Ledger.made(tmp_path, others(60), [10]), RETENTION)
    for _ in range(2):
        assert one.verify() == {}
    passes(one.folder)
    documents.write(one.folder.verified, msgspec.structs.replace(read_verified(one.folder), checkpoint="c0"))
    tidy(one.folder, RETENTION)
    assert len(reported(one.folder)) == 2


def test_after_eight_days_off_one_run_is_green(tmp_path: Path) -> None:
    """Everything published and verified before has left Kafka meanwhile: that is no loss.

    The next run verifies what is new.
    """
    one = batches(tmp_path, 2)
    ingests(one, 0)
    assert one.verify() == {}
    one.kafka.first = 4
    passes(one.folder, 8 * DAY)
    assert one.verify() == {}
    ingests(one, 1)
    assert one.verify() == {}
    assert one.verify(one.everything) == {}


def test_after_eight_days_off_what_waited_is_lost(tmp_path: Path) -> None:
    """Records that nobody had published left Kafka: red by I9, and by that alone."""
    one = batches(tmp_path, 2)
    ingests(one, 0)
    assert one.verify() == {}
    one.kafka.first = 6
    passes(one.folder, 8 * DAY)
    assert set(one.verify()) == {"I9"}
