"""Green covers everything up to the end of the topic.

What waits is counted, and what left Kafka unread is red.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace import documents
from headrace.errors import (
    BrokerError,
    Code,
    LedgerError,
    OpenTransactionError,
    UnavailableError,
    UnsupportedLoginError,
    UsageError,
)
from headrace.kafka.offsets import Offsets, TopicPartition
from headrace.kafka.record_batch import RecordBatch
from headrace.ledger.guard import check_starting
from headrace.ledger.opening import open_ledger
from headrace.ledger.progress import Started, Streamed, read_verified
from headrace.ledger.receipts import ReceiptState
from headrace.report import wording
from headrace.verify.checks.frontier import age
from headrace.verify.result import Finding, Report
from headrace.verify.scope import Scope
from ledgers import GAP, LATER, FakeKafka, Ledger, batch, others

NOW = datetime(2026, 1, 3, tzinfo=UTC)


def findings(report: Report, invariant: str) -> list[Finding]:
    """What an invariant found."""
    return next(each.findings for each in report.invariants if each.id == invariant)


def states(report: Report) -> dict[str, str]:
    """The invariants that do not hold."""
    return {each.id: each.state.value for each in report.invariants if each.state != "held"}


def first_stream_died(tmp_path: Path) -> Ledger:
    """A stream started, and published nothing."""
    return Ledger.made(tmp_path, others(30), checkpoint=None)


def test_what_waits_behind_a_verified_ledger_is_counted(tmp_path: Path) -> None:
    """Green says how much waits and for how long.

    In the headline, in the report, and in what asset events carry.
    """
    one = Ledger.made(tmp_path, others(30), [10])
    one.kafka.waiting_at = int((datetime.now(UTC) - timedelta(minutes=3, seconds=5)).timestamp() * 1000)
    report = one.look()
    outcome = wording.outcome(report)
    assert (
        outcome.sentence
        == "Green: all 10 published records are accounted for. Up to 20 records wait in Kafka, the oldest for 3 minutes"
    )
    assert [(row.partition, row.from_offset, row.until_offset) for row in report.waiting.partitions] == [
        (0, 10, 30)
    ]
    assert wording.summary(report)["waiting"]["records"] == report.waiting.offsets == 20
    assert wording.summary(report)["waiting"]["partitions"] == 1
    assert 185 <= wording.summary(report)["waiting"]["oldest_seconds"] < 240


def test_records_that_left_kafka_before_a_stream_read_them_are_red(tmp_path: Path) -> None:
    """With partition and offsets; what is published is proven all the same."""
    one = Ledger.made(tmp_path, others(30), [10])
    assert one.verify() == {}
    one.publish(1, 10, 15)
    one.kafka.first = 22
    report = one.look()
    assert states(report) == {"I9": "broken", "I7": "unverifiable"}
    (lost,) = findings(report, "I9")
    assert (lost.topic, lost.partition, lost.from_offset, lost.until_offset) == ("t", 0, 15, 22)
    assert "cast" not in wording.outcome(report).detail


def test_a_loss_of_the_next_records_proves_what_is_published(tmp_path: Path) -> None:
    """I9 is no reason to look at a micro-batch again, nor to leave its proof unrecorded until it ages out."""
    one = Ledger.made(tmp_path, others(30), [10])
    one.kafka.first = 0
    lost = one.look()
    assert states(lost) == {}
    one.publish(1, 10, 15)
    one.kafka.partitions = 2
    one.kafka.lost_partition = 7
    assert set(one.verify()) == {"I9"}
    assert read_verified(one.folder).until == 1
    assert read_verified(one.folder).recheck == {}


def test_a_loss_before_the_first_micro_batch_is_red(tmp_path: Path) -> None:
    """identity.json says where the first stream begins, also if it never came to publish."""
    one = first_stream_died(tmp_path)
    one.kafka.first = 4
    assert [(each.from_offset, each.until_offset) for each in findings(one.look(), "I9")] == [
        (None, None),
        (0, 4),
    ]


def test_without_a_stream_only_a_batch_can_be_lost(tmp_path: Path) -> None:
    """What lies before the first stream's start is not this pipeline's, except its own receipts."""
    one = Ledger.made(tmp_path, [*others(10), *batch("run", 10), *others(10)])
    one.receipt("run", 10, 19)
    one.folder.identity.unlink()
    one.folder.started.unlink()
    one.folder.streamed.unlink()
    for path in sorted(one.folder.checkpoint.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    one.kafka.first = 10
    report = one.look()
    assert states(report) == {}
    assert report.waiting.offsets == 20
    one.kafka.first = 14
    (lost,) = findings(one.look(), "I9")
    assert (lost.from_offset, lost.until_offset) == (10, 14)
    assert "run" in lost.message


@pytest.mark.parametrize(
    ("starting", "waits"), [("latest", 0), ("1970-01-01T00:00:00Z", 30), ("2026-01-01T00:00:00Z", 0)]
)
def test_without_a_stream_records_wait_from_where_it_would_begin(
    tmp_path: Path, starting: str, waits: int
) -> None:
    """By the pipeline file's `starting`."""
    one = Ledger.made(tmp_path, others(30))
    one.folder.root.rename(tmp_path / "aside")
    one.pipeline.path.write_text(f'starting = "{starting}"\n{one.pipeline.path.read_text()}')
    one.pipeline = type(one.pipeline).load(one.pipeline.path)
    outcome = wording.outcome(one.verification(one.everything).run("verify"))
    assert outcome.sentence.startswith("Nothing to verify yet")
    assert ("up to 30 records wait" in outcome.sentence) == (waits == 30)


def test_a_start_in_the_future_is_refused(tmp_path: Path) -> None:
    """A stream would take today's records for those that were to be left out, or the other way round."""
    one = Ledger.made(tmp_path, others(30))
    one.pipeline.path.write_text(f'starting = "2999-01-01T00:00:00Z"\n{one.pipeline.path.read_text()}')
    with pytest.raises(UsageError, check=Code.START_IN_FUTURE.fits):
        check_starting(type(one.pipeline).load(one.pipeline.path))


def test_lost_is_said_only_after_the_newest_entry_was_read_again(tmp_path: Path) -> None:
    """A stream may have published, and retention deleted, since the ledger was read."""
    one = Ledger.made(tmp_path, others(30), [10])
    verification = one.verification(one.everything)
    one.publish(1, 10, 20)
    one.kafka.first = 20
    report = verification.run("slow")
    assert findings(report, "I9") == []
    assert report.published_meanwhile == 1


def test_a_loss_is_not_said_while_a_stream_may_have_read_it(tmp_path: Path) -> None:
    """It holds the lock, and is about to publish what it read before retention came."""
    one = Ledger.made(tmp_path, others(30), [10])
    assert one.verify() == {}
    one.kafka.first = 12
    with (
        one.folder.locked("the stream of run x"),
        pytest.raises(UnavailableError, check=Code.STREAM_RUNNING.fits),
    ):
        one.look()
    assert "I9" in one.verify()


def test_a_first_stream_that_published_nothing_is_red(tmp_path: Path) -> None:
    """It says how much waits, and which stream did not finish; while one runs there is nothing to say."""
    one = first_stream_died(tmp_path)
    documents.write(one.folder.started, Started(run="scheduled__1", started_at=LATER))
    outcome = wording.outcome(one.look())
    assert outcome.sentence.startswith("Red: nothing was published, up to 30 records wait in Kafka")
    assert outcome.sentence.endswith("and the last stream (scheduled__1) did not finish")
    with (
        one.folder.locked("a stream"),
        pytest.raises(UnavailableError, check=Code.STREAM_RUNNING.fits),
    ):
        one.look()


@pytest.mark.parametrize(
    ("hours", "coordinated", "hangs"), [(0.2, False, False), (0.3, False, True), (0.3, True, False)]
)
def test_what_an_open_transaction_hides_is_named(
    tmp_path: Path, hours: float, coordinated: bool, hangs: bool
) -> None:
    """Only one that the brokers would have ended is called hanging, with what ends it.

    One that its coordinator knows may hold replayed records.
    """
    one = Ledger.made(tmp_path, others(511), [10])
    one.kafka.hidden_from = 10
    one.kafka.waiting_at = int((datetime.now(UTC) - timedelta(hours=hours)).timestamp() * 1000)
    one.kafka.coordinated = datetime.now(UTC) if coordinated else None
    report = one.look()
    assert wording.outcome(report).green
    (row,) = report.waiting.partitions
    assert row.hidden is not None
    assert (row.hidden.stable_offset, row.hidden.offsets, row.hidden.hanging) == (10, 501, hangs)
    command = (
        "kafka-transactions.sh --bootstrap-server nowhere abort --topic t --partition 0 --start-offset 10"
    )
    assert row.hidden.abort == (command if hangs else None)


@pytest.mark.parametrize(
    ("sent", "since", "expected"),
    [
        (NOW - timedelta(hours=1), NOW - timedelta(hours=2), 3600),
        (NOW - timedelta(days=900), NOW - timedelta(hours=2), 7200),
        (NOW + timedelta(hours=1), NOW - timedelta(hours=2), 7200),
        (None, NOW - timedelta(hours=2), 7200),
        (NOW - timedelta(hours=1), None, 3600),
        (NOW + timedelta(hours=1), None, None),
        (None, None, None),
    ],
)
def test_the_age_of_a_waiting_record(
    sent: datetime | None, since: datetime | None, expected: float | None
) -> None:
    """Replayed records carry old timestamps and bad clocks future ones.

    Those wait since the last complete stream began.
    """
    assert age(sent, NOW, since) == expected


def transactions(*batches: tuple[int, int, str]) -> list[RecordBatch]:
    """Batches of one producer: first and last offset, and records, commit or abort."""
    return [
        RecordBatch(
            first,
            last,
            kind != "records",
            is_transactional=True,
            producer_id=7,
            records=1,
            is_abort=kind == "abort",
        )
        for first, last, kind in batches
    ]


def with_gap(tmp_path: Path) -> Ledger:
    """Offsets 4 and 5 of ten hold no record."""
    records = [GAP if offset in {4, 5} else record for offset, record in enumerate(others(10))]
    return Ledger.made(tmp_path, records, [10])


def test_gaps_that_transactions_explain_are_green(tmp_path: Path) -> None:
    """An aborted record and its marker."""
    one = with_gap(tmp_path)
    one.kafka.batches = transactions((4, 4, "records"), (5, 5, "abort"))
    report = one.look()
    assert states(report) == {}
    assert [row.gaps for row in report.balance] == [2]


@pytest.mark.parametrize("batches", [[], transactions((4, 4, "records"), (5, 5, "commit"))])
def test_gaps_that_nothing_explains_are_red(tmp_path: Path, batches: list[RecordBatch]) -> None:
    """A topic that was compacted for a while has lost records, whatever its policy is now."""
    one = with_gap(tmp_path)
    one.kafka.batches = batches
    report = one.look()
    assert states(report) == {"I6": "broken"}
    assert findings(report, "I6")[0].from_offset == 4
    assert one.conclude(report) != {}
    assert list(read_verified(one.folder).recheck) == [0]


def test_gaps_that_can_not_be_looked_at_are_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is no red, and the headline says it."""
    one = with_gap(tmp_path)

    def refused(*_: Any) -> None:
        raise UnsupportedLoginError("GSSAPI")

    monkeypatch.setattr(type(one.kafka), "record_batches", refused)
    report = one.look()
    assert states(report) == {"I6": "not_checked"}
    assert "2 gaps could not be checked" in wording.outcome(report).sentence
    assert wording.outcome(report).green


def test_offsets_age_out_one_by_one(tmp_path: Path) -> None:
    """A range still half in Kafka is judged as far as it is there; only the rest can't be proven any more."""
    one = Ledger.made(tmp_path, others(30), [20])
    one.kafka.first = 5
    report = one.look()
    assert states(report) == {"I7": "unverifiable"}
    (finding,) = findings(report, "I7")
    assert (finding.from_offset, finding.until_offset) == (0, 5)
    assert next(each.checked for each in report.invariants if each.id == "I7") == 15


def test_what_held_is_proven_whatever_else_was_red(tmp_path: Path) -> None:
    """Friday's records must not age out unproven because a file of Monday's is missing."""
    one = Ledger.made(tmp_path, others(40), [10, 20, 30])
    (path,) = (one.folder.events / "micro_batch=1").glob("*.parquet")
    aside = path.rename(tmp_path / "aside")
    assert set(one.verify()) == {"I8"}
    assert read_verified(one.folder).until == 2
    one.kafka.first = 30
    one.publish(3, 30, 40)
    assert "I8" in one.verify()
    aside.rename(path)
    found = one.verify()
    assert set(found) == {"I7"}, "micro-batch 1 was never proven; the others were"
    assert list(read_verified(one.folder).recheck) == [1]


def test_an_older_copy_of_the_whole_folder_shows_what_waits(tmp_path: Path) -> None:
    """Restored with its own verified.json it knows nothing of yesterday's micro-batches.

    Their records wait, or are lost.
    """
    one = Ledger.made(tmp_path, others(30), [10])
    assert one.verify() == {}
    old = one.copied(tmp_path / "old")
    one.publish(1, 10, 30)
    assert one.verify() == {}
    report = old.look()
    assert states(report) == {}
    assert report.waiting.offsets == 20
    old.kafka.first = 20
    assert states(old.look()) == {"I9": "broken"}


def test_reports_are_ordered_by_number_not_by_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A red that was found while the clock was ahead is settled by the next green."""
    one = Ledger.made(tmp_path, others(30), [10])
    (path,) = (one.folder.events / "micro_batch=0").glob("*.parquet")
    content = path.read_bytes()
    path.unlink()

    class Ahead(datetime):
        """A clock that is a year ahead."""

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(days=365)

    with monkeypatch.context() as patch:
        patch.setattr("headrace.verify.run.datetime", Ahead)
        assert "I8" in one.verify()
    path.write_bytes(content)
    assert one.verify() == {}
    assert read_verified(one.folder).recheck == {}


def test_no_two_verify_runs_share_a_number(tmp_path: Path) -> None:
    """Also if verified.json was put back from an older copy, or removed with the file that counts reports."""
    one = Ledger.made(tmp_path, others(30), [10])
    assert one.verify() == {}
    copy = one.folder.verified.read_bytes()
    numbers = [one.look().number for _ in range(3)]
    one.folder.verified.write_bytes(copy)
    numbers.append(one.look().number)
    one.folder.verified.unlink()
    one.folder.report_number.unlink()
    numbers.append(one.look().number)
    assert numbers == sorted(set(numbers))


def test_a_verified_json_without_its_mark_proves_nothing(tmp_path: Path) -> None:
    """What it does not name by hash was not proven; one with a half of a mark is damaged."""
    one = Ledger.made(tmp_path, others(30), [10])
    assert one.verify() == {}
    known = read_verified(one.folder)
    documents.write(one.folder.verified, msgspec.structs.replace(known, mark=None))
    one.kafka.first = 10
    assert set(one.verify()) == {"I7"}
    text = one.folder.verified.read_text()
    one.folder.verified.write_text(text.replace('"mark": null', '"mark": {"number": 0, "sha256": null}'))
    with pytest.raises(LedgerError, check=Code.DOCUMENT_DAMAGED.fits):
        one.verify()


def test_a_batch_that_is_not_complete_is_not_lost(tmp_path: Path) -> None:
    """Nothing is known of where its records lie."""
    one = Ledger.made(tmp_path, batch("run", 10), [10])
    receipt = one.receipt("run", 0, 9)
    documents.write(
        one.folder.receipt("other"),
        msgspec.structs.replace(receipt, run="other", state=ReceiptState.OPEN, landings=[]),
    )
    assert one.verify() == {}


def test_what_a_transaction_hides_waits_for_as_long_as_it_is_open(tmp_path: Path) -> None:
    """Streams end well beside it, hour after hour, and do not read what it hides."""
    one = Ledger.made(tmp_path, others(40), [10])
    one.kafka.hidden_from = 10
    now = datetime.now(UTC)
    documents.write(one.folder.streamed, Streamed(run="run", started_at=now, ended_at=now, receipts=[]))
    one.kafka.waiting_at = int((now - timedelta(days=5)).timestamp() * 1000)
    assert one.look().waiting.oldest_seconds == pytest.approx(5 * 86_400, abs=60)
    one.kafka.coordinated = now - timedelta(minutes=20)  # its records are replayed
    assert one.look().waiting.oldest_seconds == pytest.approx(1200, abs=60)


def test_a_coordinator_that_is_silent_may_know_the_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To abort what a producer still writes would lose it."""
    one = Ledger.made(tmp_path, others(40), [10])
    one.kafka.hidden_from = 10

    def silent(*_: object) -> None:
        raise BrokerError("no answer")

    monkeypatch.setattr(type(one.kafka), "transaction_start", silent)
    (row,) = one.look().waiting.partitions
    assert row.hidden is not None
    assert (row.hidden.hanging, row.hidden.abort) == (False, None)


def test_a_record_that_came_while_verify_ran_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing all files takes minutes.

    A record that arrives meanwhile has not waited since the last stream.
    """
    one = Ledger.made(tmp_path, others(40), [10])
    long_ago = datetime.now(UTC) - timedelta(days=1)
    documents.write(
        one.folder.streamed, Streamed(run="run", started_at=long_ago, ended_at=long_ago, receipts=[])
    )
    ask = type(one.kafka).first_timestamps

    def arriving(kafka: FakeKafka, offsets: Offsets) -> dict[TopicPartition, int]:
        kafka.waiting_at = int(time.time() * 1000)
        return ask(kafka, offsets)

    monkeypatch.setattr(type(one.kafka), "first_timestamps", arriving)
    assert one.look().waiting.oldest_seconds == pytest.approx(0, abs=30)


def test_a_topic_that_goes_away_while_it_is_looked_at_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was described, and gone when its offsets were asked for."""
    one = Ledger.made(tmp_path, others(40), [10])
    monkeypatch.setattr(type(one.kafka), "end", lambda *_, **__: Offsets())
    with pytest.raises(UnavailableError, check=Code.TOPIC_GONE.fits):
        one.look()


def test_gaps_are_explained_once_more_when_a_leader_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new leader may not know yet how far its log is complete; its first answer ends before the marker."""
    one = Ledger.made(
        tmp_path, [GAP if offset in {8, 9} else record for offset, record in enumerate(others(10))], [10]
    )
    marker = RecordBatch(
        9, 9, is_control=True, is_transactional=True, producer_id=7, records=1, is_abort=True
    )
    aborted = RecordBatch(
        8, 8, is_control=False, is_transactional=True, producer_id=7, records=1, is_abort=False
    )
    answers = iter([[aborted], [aborted, marker]])
    known = [aborted]

    def told(_: object, __: TopicPartition, offset: int) -> Iterator[RecordBatch]:
        return iter([each for each in known if each.last_offset >= offset])

    ask = type(one.kafka).end

    def end(kafka: FakeKafka, topics: Any, *, committed: bool = True) -> Offsets:
        if not committed:
            known[:] = next(answers, [aborted, marker])
        return ask(kafka, topics, committed=committed)

    monkeypatch.setattr(type(one.kafka), "record_batches", told)
    monkeypatch.setattr(type(one.kafka), "end", end)
    assert one.verify() == {}


def test_a_transaction_whose_beginning_has_left_kafka_hides_the_next_offset(tmp_path: Path) -> None:
    """Kafka then lets committed readers see less than there is room for.

    Nothing is lost, and a stream must wait. Spark would call it a loss.
    """
    one = Ledger.made(tmp_path, others(40), [20])
    one.kafka.first, one.kafka.hidden_from = 20, 18
    assert one.verify(Scope(checkpoint="c1", micro_batches=[], receipts=[], updates_verified=True)) == {}
    with pytest.raises(OpenTransactionError, check=Code.TRANSACTION_OPEN.fits) as raised:
        open_ledger(one.folder, one.pipeline, one.kafka)
    assert (raised.value.partition, raised.value.offset) == (0, 20)
    one.kafka.hidden_from = None
    open_ledger(one.folder, one.pipeline, one.kafka)
