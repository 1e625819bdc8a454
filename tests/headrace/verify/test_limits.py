"""I10: beyond a limit of the pipeline's own the run is red, and nothing that is published is in doubt."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from headrace import documents
from headrace.contract.pipeline import Pipeline
from headrace.durations import seconds
from headrace.errors import Code, PipelineFileError, UsageError
from headrace.ledger.entries import entry_path
from headrace.ledger.entry import Entry
from headrace.ledger.progress import Streamed, read_verified
from headrace.preflight import check_file, longest_interval
from headrace.report import wording
from headrace.verify.result import Report
from headrace.verify.run import Verification
from headrace.verify.scope import since_verified
from headrace.verify.settle import draw_number
from ledgers import MOMENT, Ledger, others


def limited(tmp_path: Path, limits: str, cuts: tuple[int, ...] = (10,)) -> Ledger:
    """A ledger of a pipeline with limits. Of `others`, two records in five are kept and one is unusable."""
    one = Ledger.made(tmp_path, others(30), cuts)
    one.pipeline.path.write_text(f"{one.pipeline.path.read_text()}\n[limits]\n{limits}\n")
    one.pipeline = Pipeline.load(one.pipeline.path)
    return one


def of_limits(report: Report) -> list[str]:
    """What I10 found."""
    return next(
        [finding.message for finding in each.findings] for each in report.invariants if each.id == "I10"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90 seconds", 90),
        ("1 minute", 60),
        ("1.5 hours", 5400),
        ("2 days", 172_800),
        ("1hour", 3600),
        ("1 week", None),
        ("-1 hour", None),
        ("0 days", None),
    ],
)
def test_durations(text: str, expected: float | None) -> None:
    """A number and seconds, minutes, hours or days."""
    assert seconds(text) == expected


def test_limits_that_are_none_are_reported_with_the_file_s_other_mistakes(tmp_path: Path) -> None:
    """A word that is no duration, a share above one, a key that is none."""
    with pytest.raises(PipelineFileError) as caught:
        limited(tmp_path, 'lag = "soon"\nquarantined = 2\nfreshnes = "1 day"')
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "limits.lag",
        "limits.quarantined",
        "limits.freshnes",
    ]


@pytest.mark.parametrize(("limit", "is_red"), [("2 minutes", True), ("4 minutes", False)])
def test_lag_is_the_age_of_the_oldest_waiting_record(tmp_path: Path, limit: str, is_red: bool) -> None:
    """By its timestamp, which lies after the start of the last complete stream."""
    one = limited(tmp_path, f'lag = "{limit}"')
    now = datetime.now(UTC)
    began = now - timedelta(hours=1)
    documents.write(one.folder.streamed, Streamed(run="run", started_at=began, ended_at=began, receipts=[]))
    one.kafka.waiting_at = int((now - timedelta(minutes=3)).timestamp() * 1000)
    assert bool(of_limits(one.look())) == is_red


def test_a_red_about_limits_doubts_nothing_that_is_published(tmp_path: Path) -> None:
    """It is proven, and looked at no more; the headline says what is passed."""
    one = limited(tmp_path, 'lag = "2 minutes"')
    report = one.look()
    assert one.conclude(report) != {}
    assert (read_verified(one.folder).until, read_verified(one.folder).recheck) == (0, {})
    assert wording.outcome(report).sentence.startswith("Red: I10 (limits) is broken")
    assert wording.outcome(report).detail.startswith("The records that are published are accounted for.")


def test_lag_is_not_judged_while_an_ingest_runs(tmp_path: Path) -> None:
    """What waits is about to be published: an ingest is queued or running, or a stream holds the lock."""
    one = limited(tmp_path, 'lag = "2 minutes"')
    number = draw_number(one.folder, "a test")
    running = Verification(
        one.folder, one.pipeline, one.kafka, since_verified(one.folder), number, ingest_is_running=True
    )
    assert of_limits(running.run("beside an ingest")) == []
    with one.folder.locked("a stream by hand"):
        assert of_limits(one.look()) == []
    assert of_limits(one.look()) != []


@pytest.mark.parametrize(("limit", "is_red"), [("1 day", True), ("100000 days", False)])
def test_freshness_counts_from_the_last_entry_that_has_a_record(
    tmp_path: Path, limit: str, is_red: bool
) -> None:
    """A dead upstream must not be green for ever, whether or not there is anything new."""
    one = limited(tmp_path, f'freshness = "{limit}"', (10, 20, 20))
    assert one.folder.micro_batches() == [0, 1, 2]
    assert datetime.now(UTC) - MOMENT > timedelta(days=1)
    assert bool(of_limits(one.look())) == is_red
    assert bool(of_limits(one.look())) == is_red, "nothing is new"


@pytest.mark.parametrize(("share", "is_red"), [("0.49", True), ("0.5", False)])
def test_the_share_of_quarantined_records_is_taken_over_enough_of_them(
    tmp_path: Path, share: str, is_red: bool
) -> None:
    """Over the scope and what came before it, up to a thousand records: ten bad ones of ten are no rate."""
    one = limited(tmp_path, f"quarantined = {share}", (10,))
    one.kafka.records = [*[(b"k", b"other")] * 10, *[(b"k", None)] * 20]
    one.folder.root.rename(tmp_path / "aside")
    again = Ledger.made(tmp_path / "again", one.kafka.records, (10,))
    again.pipeline = one.pipeline
    assert again.verify() == {}
    again.publish(1, 10, 20)
    assert since_verified(again.folder).micro_batches == [1]
    assert bool(of_limits(again.look())) == is_red


def test_what_a_limit_found_is_in_the_report(tmp_path: Path) -> None:
    """Also where it holds."""
    one = limited(tmp_path, 'freshness = "100000 days"\nquarantined = 0.5')
    assert [(each.name, each.holds) for each in one.look().limits] == [
        ("freshness", True),
        ("quarantined", True),
    ]


@pytest.mark.parametrize(
    ("schedule", "hours"),
    [
        ("*/15 * * * *", 0.25),
        ("* * * * *", 1 / 60),
        ("0 9 * * 1-5", 72),
        ("5 9-17 * * MON-FRI", 64),
        ("0 0 1,15 * 1", 168),
        ("0 0 1 1 *", 8784),
    ],
)
def test_the_longest_interval_of_a_schedule(schedule: str, hours: float) -> None:
    """Weekends, months and leap years included."""
    assert longest_interval(schedule) == pytest.approx(3600 * hours)


def test_a_lag_that_a_healthy_pipeline_would_pass_is_refused(tmp_path: Path) -> None:
    """Records wait from one run to the next."""
    text = Ledger.made(tmp_path, others(30)).pipeline.path.read_text()
    path = tmp_path / "p.toml"
    path.write_text(f'schedule = "0 * * * *"\n{text}\n[limits]\nlag = "1 hour"\n')
    with pytest.raises(UsageError, check=Code.LIMIT_TOO_SHORT.fits):
        check_file(Pipeline.load(path))
    path.write_text(f'schedule = "0 * * * *"\n{text}\n[limits]\nlag = "61 minutes"\n')
    check_file(Pipeline.load(path))


def test_limits_are_shown_as_the_file_has_them(tmp_path: Path) -> None:
    """An hour and a half is not an hour, and a share below a hundredth of a percent is not nothing."""
    report = limited(tmp_path, 'lag = "90 minutes"\nfreshness = "36 hours"\nquarantined = 0.00001').look()
    assert [limit.allowed for limit in report.limits] == ["90 minutes", "36 hours", "0.001%"]


def test_lag_counts_from_the_first_stream_where_none_is_complete(tmp_path: Path) -> None:
    """It was killed midway; that the topic's records are three years old is not its doing."""
    one = limited(tmp_path, 'lag = "2 hours"')
    one.kafka.waiting_at = 1_600_000_000_000
    path = entry_path(one.folder, 0)
    began = datetime.now(UTC) - timedelta(hours=1)
    documents.write(
        path, msgspec.structs.replace(documents.read(path, Entry), planned_at=began, published_at=began)
    )
    one.folder.streamed.unlink(missing_ok=True)
    assert one.look().limits[0].found == pytest.approx(3600, abs=60)
