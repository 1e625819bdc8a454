"""Following a run, against an Airflow that plays back what it is told."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from rich.console import Console

from headrace import documents
from headrace.errors import Code, UsageError
from headrace.ledger.folder import Folder
from headrace.local import compose
from headrace.local.client import demo
from headrace.local.client.console import Say
from headrace.local.client.rest import FileError, Run, Task
from headrace.report import console
from headrace.settings import Settings
from headrace.verify.result import ReceiptState, Report

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class FakeAirflow:
    """An Airflow whose runs are over at once: the triggered one, and the verify runs that it is given."""

    def __init__(
        self, verify_runs: list[Run], ingest_state: str = "success", errors: list[FileError] | None = None
    ) -> None:
        self.verify_runs = verify_runs
        self.ingest_state = ingest_state
        self.states: dict[str, dict[str, str]] = {"tiny_ingest": {}, "tiny_verify": {}}
        """By DAG, the states of tasks that are not as the run is."""
        self.errors = errors or []
        self.unpaused: list[str] = []
        self.triggered = ""
        self.switched_off: list[str] = []
        self.looks = 0
        """How often our run was looked at."""
        self.tries: list[tuple[int, str, str | None]] = []
        """What each look at our run finds before it is over: which try of its task, the state, why it failed.
        """

    @contextmanager
    def connected(self, _: Settings) -> Iterator[Self]:
        """Log in to itself."""
        yield self

    def dag(self, _: str) -> dict[str, Any]:
        """Every DAG is parsed, once the errors that it was given are gone."""
        return {"is_stale": False, "has_import_errors": bool(self.errors)}

    def import_errors(self) -> list[FileError]:
        """What it was given, once."""
        errors, self.errors = self.errors, []
        return errors

    def was_switched_off(self, dag: str) -> bool:
        """As it was told."""
        return dag in self.switched_off

    def unpause(self, dag: str) -> None:
        """Note it down."""
        self.unpaused.append(dag)

    def trigger(self, _: str, run: str, __: Mapping[str, Any]) -> None:
        """Note it down."""
        self.triggered = run

    def run(self, dag: str, run: str) -> Run:
        """Our run, or one of verify."""
        if run == self.triggered:
            self.looks += 1
            is_over = self.looks > len(self.tries)
            return Run(
                dag,
                run,
                self.ingest_state if is_over else "running",
                NOON,
                NOON + timedelta(minutes=1) if is_over else None,
            )
        return next(one for one in self.verify_runs if one.id == run)

    def find_run(self, dag: str, run: str) -> Run | None:
        """Ours, or one of verify, if there is one of that name."""
        return next((each for each in self.runs(dag) if each.id == run), None)

    def runs(self, dag: str) -> list[Run]:
        """All of verify, and of the ingest an older one and ours."""
        if dag == "tiny_ingest":
            return [Run(dag, "older", "success", NOON, NOON), self.run(dag, self.triggered)]
        return self.verify_runs

    def tasks(self, run: Run) -> list[Task]:
        """The one that the run takes its state from, and what it was told."""
        last = "report" if run.dag == "tiny_verify" else "stream_to_parquet"
        if not run.is_over:
            tries, state, _ = self.tries[self.looks - 1]
            return [Task(last, state, tries, 1.5)]
        return [
            Task(name, state, 1, 1.5) for name, state in {last: run.state, **self.states[run.dag]}.items()
        ]

    def reason(self, _: Run, __: Task) -> str | None:
        """Why the try failed that is looked at."""
        return self.tries[self.looks - 1][2]

    def log(self, run: Run, task: Task) -> list[str]:
        """One line."""
        return [f"log of {task.name} in {run.dag}"]


def verify_run(name: str, minute: int, state: str = "success") -> Run:
    """A verify run that took half a minute from a minute after noon."""
    started = NOON + timedelta(minutes=minute)
    return Run("tiny_verify", name, state, started, started + timedelta(seconds=30))


def report(run: str, receipts: dict[str, ReceiptState]) -> Report:
    """A report that says no more than which receipts it covers."""
    empty = (
        "balance",
        "invariants",
        "quarantine",
        "kept_per_minute",
        "samples",
        "micro_batches",
        "aged_out",
        "limits",
    )
    content: dict[str, Any] = {
        **{name: [] for name in empty},
        **dict.fromkeys(("description", "events", "quarantined_records"), ""),
        "pipeline": "tiny",
        "run": run,
        "state": "red" if ReceiptState.BROKEN in receipts.values() else "green",
        "checked_at": NOON,
        "seconds": 1.0,
        "versions": {},
        "receipts": [
            {"run": name, "state": state, "wanted": 1, "landed": 1, "partitions": []}
            for name, state in receipts.items()
        ],
        "number": 1,
        "seen": 1,
        "recheck": {"micro_batches": [], "restorable": [], "receipts": []},
        "waiting": {},
        "gaps_not_checked": 0,
        "gaps_not_checked_of": {},
        "published_meanwhile": 0,
        "history": {"checked": [], "began": 0, "until": None, "at": None},
        "last_records": [],
        "hashes": {"entries": {}, "receipts": {}},
        "ever": dict.fromkeys(("micro_batches", "kept", "filtered", "quarantined", "gaps"), 0),
    }
    return msgspec.convert(content, Report)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with one pipeline in an empty data folder, and no compose stack beside it."""
    monkeypatch.setattr(compose, "ENV", tmp_path / ".env")
    (tmp_path / "tiny.toml").write_text("[demo]\n")
    folders = {
        "HEADRACE_HOME": str(tmp_path / "home"),
        "HEADRACE_DATA": str(tmp_path / "data"),
        "HEADRACE_DAGS": str(tmp_path),
    }
    return Settings.from_environment(folders)


@pytest.fixture
def play(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the demo against a fake; reports are there as soon as the run is triggered."""
    shown: list[str] = []
    monkeypatch.setattr(demo, "EVERY", 0.0)
    monkeypatch.setattr(console, "show", lambda found, _: shown.append(found.run))

    def play(
        airflow: FakeAirflow,
        covered: dict[str, dict[str, ReceiptState]],
        *,
        produces: bool = True,
        is_verified: bool = False,
        again: bool = False,
        output: io.StringIO | None = None,
    ) -> tuple[bool, list[str], str]:
        def trigger(_: str, run: str, __: Mapping[str, Any]) -> None:
            airflow.triggered = run
            if produces:
                folder = Folder(settings.data / "tiny")
                receipt = folder.verified_receipt(run) if is_verified else folder.receipt(run)
                receipt.parent.mkdir(parents=True)
                receipt.touch()
            for verify, receipts in covered.items():
                path = Folder(settings.data / "tiny").report(verify) / "report.json"
                documents.write(
                    path,
                    report(
                        verify, {run if name == "OURS" else name: state for name, state in receipts.items()}
                    ),
                )

        monkeypatch.setattr(airflow, "trigger", trigger)
        monkeypatch.setattr(demo, "Airflow", airflow)
        output = output or io.StringIO()
        say = Say(Console(file=output, width=200))
        green = demo.run(settings, "tiny", say, wait=not again)
        if again:
            green = demo.wait(settings, "tiny", None, say)
        return green, shown, output.getvalue()

    return play


@pytest.mark.parametrize("is_verified", [False, True])
def test_the_verify_run_that_names_our_receipt_is_the_one_that_counts(
    play: Any, *, is_verified: bool
) -> None:
    """Neither an older one nor that of a scheduled run in between does; a green one has moved the receipt."""
    airflow = FakeAirflow([verify_run("old", 0), verify_run("scheduled", 1), verify_run("asset/1", 2)])
    covered = {
        "scheduled": {"another": ReceiptState.VERIFIED, "OURS": ReceiptState.PENDING},
        "asset/1": {"OURS": ReceiptState.VERIFIED},
    }
    green, shown, output = play(airflow, covered, is_verified=is_verified)
    assert green
    assert shown == ["asset/1"]
    assert "run old" not in output


def test_a_run_that_produced_nothing_is_covered_by_what_it_published(play: Any) -> None:
    """A pipeline that others write to has no receipts to wait for."""
    green, shown, _ = play(
        FakeAirflow([verify_run("old", 0), verify_run("one", 1)]), {"one": {}}, produces=False
    )
    assert green
    assert shown == ["one"]


def test_verify_is_unpaused_before_ingest(play: Any) -> None:
    """A paused DAG does not see the assets that are published meanwhile."""
    airflow = FakeAirflow([verify_run("one", 1)])
    play(airflow, {"one": {"OURS": ReceiptState.VERIFIED}})
    assert airflow.unpaused == ["tiny_verify", "tiny_ingest"]


def test_a_dag_that_was_switched_off_stays_off(play: Any) -> None:
    """Its schedule would send batches again; whoever switched it off is to say so."""
    airflow = FakeAirflow([verify_run("first", 2)])
    airflow.switched_off = ["tiny_ingest"]
    with pytest.raises(UsageError, check=Code.DAG_OFF.fits):
        play(airflow, {})
    assert (airflow.unpaused, airflow.triggered) == ([], "")


def test_a_red_verify_run_is_red_and_its_report_is_shown(play: Any) -> None:
    """It says what is broken; the task's log would say it again."""
    green, shown, output = play(
        FakeAirflow([verify_run("one", 1, "failed")]), {"one": {"OURS": ReceiptState.BROKEN}}
    )
    assert not green
    assert shown == ["one"]
    assert "log of report" not in output


def test_a_verify_run_that_fails_without_a_report_is_red(play: Any) -> None:
    """It is not waited for another."""
    green, shown, output = play(FakeAirflow([verify_run("one", 1, "failed")]), {})
    assert not green
    assert shown == []
    assert "log of report in tiny_verify" in output


def test_a_failed_ingest_is_red_and_shows_the_end_of_its_log(play: Any) -> None:
    """No verify run is waited for."""
    green, _, output = play(FakeAirflow([], ingest_state="failed"), {})
    assert not green
    assert "stream_to_parquet of tiny_ingest is red" in output
    assert "log of stream_to_parquet in tiny_ingest" in output


def test_a_green_run_without_a_stream_says_why_it_is_not_green(play: Any) -> None:
    """A DAG file that was emptied, or a task that was skipped: nothing was published."""
    airflow = FakeAirflow([])
    airflow.states["tiny_ingest"]["stream_to_parquet"] = "skipped"
    green, _, output = play(airflow, {})
    assert not green
    assert "No task stream_to_parquet succeeded in this run" in output


def test_while_a_task_is_tried_again_it_is_said_why_once_for_each_try(play: Any) -> None:
    """The user need not wait for the last try.

    Airflow stores the state first, and the reason a moment later.
    """
    airflow = FakeAirflow([], ingest_state="failed")
    again = "up_for_retry"
    airflow.tries = [
        (1, "running", None),
        (1, again, None),
        (1, again, "The disk is full.\nMake room."),
        (1, again, "The disk is full.\nMake room."),
    ]
    airflow.tries += [(2, "running", None), (2, again, "It is full still.")]
    _, _, output = play(airflow, {})
    lines = [line.strip() for line in output.splitlines()]
    assert [lines.count(each) for each in ("The disk is full.", "Make room.", "It is full still.")] == [
        1,
        1,
        1,
    ]


def test_a_red_report_is_red_whatever_the_run_is(play: Any) -> None:
    """A user's task that runs after a red one makes the run a success, where the DAG wires its own report."""
    airflow = FakeAirflow([verify_run("one", 1)])
    airflow.states["tiny_verify"] = {"report": "failed", "tell_everyone": "success"}
    assert not play(airflow, {"one": {"OURS": ReceiptState.BROKEN}})[0]


def test_a_green_report_that_did_not_stand_is_red(play: Any) -> None:
    """The task found that something had changed since it was checked."""
    airflow = FakeAirflow([verify_run("one", 1)])
    airflow.states["tiny_verify"] = {"report": "failed"}
    assert not play(airflow, {"one": {"OURS": ReceiptState.VERIFIED}})[0]


def test_a_green_report_is_green_though_a_task_of_the_user_s_failed(play: Any) -> None:
    """The records are accounted for; which task it is that failed is shown all the same."""
    airflow = FakeAirflow([verify_run("one", 1, "failed")], ingest_state="failed")
    airflow.states["tiny_ingest"] = {"stream_to_parquet": "success", "export": "failed"}
    airflow.states["tiny_verify"] = {"group.report": "success", "report": "none", "tell_everyone": "failed"}
    green, _, output = play(airflow, {"one": {"OURS": ReceiptState.VERIFIED}})
    assert green
    assert "log of export in tiny_ingest" in output
    assert "log of tell_everyone in tiny_verify" in output


@pytest.mark.parametrize(("state", "run"), [("skipped", "success"), ("failed", "failed")])
def test_what_repeats_another_task_is_not_shown(play: Any, state: str, run: str) -> None:
    """That `outcome` was skipped is no news, and its reason was told by the task that failed."""
    airflow = FakeAirflow([verify_run("one", 1)], ingest_state=run)
    airflow.states["tiny_ingest"] = {"outcome": state}
    airflow.states["tiny_verify"] = {"group.outcome": "skipped"}
    green, _, output = play(airflow, {"one": {"OURS": ReceiptState.VERIFIED}})
    assert green == (run == "success")
    assert "outcome" not in output
    assert "  stream_to_parquet" in output


def test_the_last_task_is_shown_if_nothing_else_failed(play: Any) -> None:
    """Some other one was cleared meanwhile, say."""
    airflow = FakeAirflow([], ingest_state="failed")
    airflow.states["tiny_ingest"] = {"stream_to_parquet": "upstream_failed", "outcome": "failed"}
    assert "log of outcome in tiny_ingest" in play(airflow, {})[2]


def test_a_dag_file_with_an_error_is_shown(play: Any) -> None:
    """It is not waited until it is mended."""
    later = datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(UsageError, match=r"Traceback(.|\n)*No module named"):
        play(
            FakeAirflow(
                [],
                errors=[FileError("tiny.py", "Traceback\nModuleNotFoundError: No module named 'x'", later)],
            ),
            {},
        )
    with pytest.raises(UsageError) as caught:
        play(
            FakeAirflow(
                [],
                errors=[FileError("tiny.py", "Traceback\nheadrace.errors.UsageError: all of\nthis", later)],
            ),
            {},
        )
    assert str(caught.value).endswith("tiny.py:\nall of\nthis")


def test_an_error_from_before_the_files_last_change_is_waited_out(play: Any) -> None:
    """Airflow has not read the mended file yet."""
    airflow = FakeAirflow(
        [verify_run("one", 1)],
        errors=[FileError("tiny.py", "ModuleNotFoundError", NOON - timedelta(days=900))],
    )
    green, _, _ = play(airflow, {"one": {"OURS": ReceiptState.VERIFIED}})
    assert green


def test_a_pipeline_that_does_not_exist_is_a_mistake_that_names_those_that_do(settings: Settings) -> None:
    """Before anything is started."""
    with pytest.raises(UsageError, check=Code.PIPELINE_MISSING.fits):
        demo.require_pipeline(settings, "tinny")


def test_a_pipeline_without_a_demo_section_has_no_demo(settings: Settings) -> None:
    """Its records come from elsewhere."""
    (settings.dags / "tiny.toml").write_text("")
    with pytest.raises(UsageError, check=Code.NO_DEMO.fits):
        demo.require_pipeline(settings, "tiny")


def test_a_run_that_was_started_before_is_followed(play: Any) -> None:
    """The newest of the ingest, or the one that is named."""
    airflow = FakeAirflow([verify_run("one", 1)])
    green, shown, output = play(airflow, {"one": {"OURS": ReceiptState.VERIFIED}}, again=True)
    assert green
    assert shown == ["one"]
    assert f"Following tiny_ingest, run {airflow.triggered}" in output


def test_the_report_of_a_run_long_ago_is_shown_at_once(play: Any) -> None:
    """Whatever verify runs there were since, such as one that did not get to Kafka."""
    runs = [verify_run("without-kafka", 2, "failed"), verify_run("asset", 3)]
    green, shown, output = play(FakeAirflow(runs), {"asset": {"OURS": ReceiptState.VERIFIED}}, again=True)
    assert (green, shown) == (True, ["asset"])
    assert "without-kafka" not in output


@pytest.mark.parametrize("state", [ReceiptState.VERIFIED, ReceiptState.BROKEN])
def test_a_report_by_hand_speaks_for_itself(play: Any, settings: Settings, state: ReceiptState) -> None:
    """Airflow knows nothing of it, as of a verify run whose row was removed."""
    page = Folder(settings.data / "tiny").report("by_hand__1") / "report.html"
    page.parent.mkdir(parents=True)
    page.touch()
    green, shown, _ = play(FakeAirflow([verify_run("asset", 0)]), {"by_hand__1": {"OURS": state}}, again=True)
    assert (green, shown) == (state is ReceiptState.VERIFIED, ["by_hand__1"])


def test_a_report_by_hand_that_is_not_final_is_none(play: Any) -> None:
    """Its page comes last. If nothing else accounts for a run that is long over, that is said at once."""
    with pytest.raises(UsageError, match="No report accounts for run by_hand__"):
        play(FakeAirflow([]), {"by_hand__1": {"OURS": ReceiptState.VERIFIED}}, again=True)


def test_an_older_red_is_no_answer_for_a_new_run(play: Any) -> None:
    """It counts until a newer report does: a run that was just started waits for its own."""
    airflow = FakeAirflow([verify_run("red", 0, "failed"), verify_run("asset", 2)])
    covered = {
        "red": {"another": ReceiptState.BROKEN},
        "asset": {"OURS": ReceiptState.VERIFIED},
    }
    assert play(airflow, covered)[:2] == (True, ["asset"])


def test_ctrl_c_ends_the_watching_and_not_the_run(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and how to go on watching."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeAirflow, "tasks", interrupted)
    output = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        play(FakeAirflow([]), {}, output=output)
    assert "The run goes on. `headrace wait tiny by_hand__" in output.getvalue()
