"""Run a pipeline in the embedded Airflow and follow it to its report, as a person in the UI would.

One conversation in one file, from the trigger to the report.
"""

import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from headrace import documents
from headrace.dag_names import INGEST, VERIFY
from headrace.errors import Code, HeadraceError, UnavailableError, UsageError
from headrace.ledger.entries import entries
from headrace.ledger.folder import Folder
from headrace.local.client.console import Say
from headrace.local.client.login import login
from headrace.local.client.rest import UNFINISHED_TASK, Airflow, Run, Task
from headrace.local.embedded import archive
from headrace.settings import Settings
from headrace.verify import stored
from headrace.verify.result import LOOKED_AT, Report, State

EVERY = 0.5
"""Seconds between two looks."""

PARSE_TIMEOUT = 120.0
"""Seconds until Airflow must have read the pipeline's DAG file; it takes about 10."""

READ_TIMEOUT = 3.0
"""Seconds that Airflow may take to read a DAG file: an error is dated when it is stored, not when the file
was opened."""

VERIFY_STARTS_WITHIN = 120.0
"""Seconds after an ingest until Airflow has started the verify run that its events ask for."""

STALL_TIMEOUT = 900.0
"""Seconds without any task changing its state after which waiting ends."""

LOG_LINES = 25

_Show = Callable[[list[str]], None]


def require_pipeline(settings: Settings, pipeline: str) -> None:
    """Raise `UsageError` unless there is a pipeline of that name that has a demo."""
    file = settings.dags / f"{pipeline}.toml"
    if not file.is_file():
        names = ", ".join(sorted(path.stem for path in settings.dags.glob("*.toml"))) or "none"
        raise UsageError(
            f"There is no pipeline {pipeline!r}: {file} does not exist. Pipelines in {settings.dags}: {names}.",
            code=Code.PIPELINE_MISSING,
        )
    try:
        has_demo = "demo" in tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not valid TOML: {error}.") from error
    if not has_demo:
        raise UsageError(
            f"{file} has no [demo] section, so there is no batch to make; trigger {pipeline}_ingest in the UI instead.",
            code=Code.NO_DEMO,
        )


def run(
    settings: Settings,
    pipeline: str,
    say: Say,
    *,
    conf: Mapping[str, Any] | None = None,
    wait: bool = True,
    unpause: bool = False,
) -> bool:
    """Trigger the pipeline's ingest, follow it and the verify run that covers it, and print the report.

    Returns whether it is green; if it is not to wait, that the run was taken.
    """
    demo = _Demo(settings, pipeline, say)
    try:
        green = demo.run(conf or {}, wait=wait, unpause=unpause)
        if green and wait and archive.is_due(settings):
            archive.make_in_background(settings, settings.dags / f"{pipeline}.toml")
            say.line("")
            say.line(
                "In the background, for half a minute and once: an archive of Spark's classes, from which later runs start faster."
            )
        return green
    finally:
        say.line("")
        if schedule := tomllib.loads((settings.dags / f"{pipeline}.toml").read_text()).get("schedule"):
            say.line(
                f"Both DAGs are unpaused: {pipeline}_ingest goes on by its schedule ({schedule}, UTC) until you pause it in the UI."
            )
        say.line(
            f"Airflow's UI: {settings.ui_url}/dags/{pipeline}_ingest; a run's tab Report has the whole account."
        )
        found = login(settings)
        say.line(
            f"Log in as {found.user}; the password is in {found.where}. `{found.stopped_by}` stops the stack."
        )


def wait(settings: Settings, pipeline: str, run: str | None, say: Say) -> bool:
    """Follow a run of the pipeline's ingest to its report; returns whether that is green.

    Args:
        run: The newest if `None`.
    """
    return _Demo(settings, pipeline, say).wait(run)


class _Demo:
    def __init__(self, settings: Settings, pipeline: str, say: Say) -> None:
        self.settings = settings
        self.folder = Folder(settings.data / pipeline)
        self.say = say
        self.ingest = pipeline + INGEST
        self.verify = pipeline + VERIFY

    def run(self, conf: Mapping[str, Any], *, wait: bool, unpause: bool) -> bool:
        with Airflow.connected(self.settings) as self.airflow:
            self._wait_until_parsed()
            if not unpause and (
                off := [dag for dag in (self.verify, self.ingest) if self.airflow.was_switched_off(dag)]
            ):
                raise UsageError(
                    f"Nothing was started: {' and '.join(off)} {'was' if len(off) == 1 else 'were'} paused by hand in Airflow. "
                    f"`headrace run {self.folder.root.name} --unpause` unpauses both DAGs of the pipeline and runs it.",
                    code=Code.DAG_OFF,
                )
            # Verify first: a paused DAG does not see the assets that were published meanwhile.
            self.airflow.unpause(self.verify)
            self.airflow.unpause(self.ingest)
            run = f"by_hand__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"
            self.airflow.trigger(self.ingest, run, conf)
            self.say.line(f"Started {self.ingest}, run {run}.")
            if not wait:
                self.say.line(
                    f"Once {self.verify} has ended, `headrace report {self.folder.root.name}` shows what came of it."
                )
                return True
            return self._to_its_report(self.airflow.run(self.ingest, run), is_new=True)

    def wait(self, run: str | None) -> bool:
        with Airflow.connected(self.settings) as self.airflow:
            found = self._find_ingest(run)
            self.say.line(f"Following {self.ingest}, run {found.id}.")
            return self._to_its_report(found, is_new=not found.is_over)

    def _find_ingest(self, run: str | None) -> Run:
        if run is None:
            if runs := self.airflow.runs(self.ingest):
                return runs[-1]
            raise UsageError(f"{self.ingest} has no run yet.")
        if found := self.airflow.find_run(self.ingest, run):
            return found
        raise UsageError(f"There is no run {run!r} of {self.ingest}.")

    def _to_its_report(self, run: Run, *, is_new: bool) -> bool:
        try:
            return self._follow_to_report(run, is_new=is_new)
        except KeyboardInterrupt:
            self.say.line(
                f"The run goes on. `headrace wait {self.folder.root.name} {run.id}` follows it again."
            )
            raise

    def _follow_to_report(self, run: Run, *, is_new: bool) -> bool:
        ended = self._follow(run)
        if ended.state != "success":
            self._show_failures(ended)
        if not self._has_succeeded(ended, "stream_to_parquet"):
            if ended.state == "success":
                self.say.line(
                    f"No task stream_to_parquet succeeded in this run, so nothing was published. See that {self._files[0]} "
                    "wires it, and that no task before it skips it.",
                    "bold red",
                )
            return False
        verified, report = (not is_new and self._find_earlier(ended)) or self._find_verify(ended)
        if report is not None:
            self.say.line("")
            self._show(report)
        if verified and verified.state != "success" and (report is None or report.state == State.GREEN):
            self._show_failures(verified)  # a red report has shown it
        return self._is_green(verified, report)

    def _is_green(self, verified: Run | None, report: Report | None) -> bool:
        """Go by the report and its task, not by the run.

        Tasks of the user's own may have failed, or hide that `report` did. A report of a run that Airflow
        does not know speaks for itself.
        """
        return (
            report is not None
            and report.state == State.GREEN
            and (verified is None or self._has_succeeded(verified, "report"))
        )

    def _has_succeeded(self, run: Run, name: str) -> bool:
        """Say whether a task of ours did, in whatever group it is."""
        return any(
            task.name.rpartition(".")[2] == name and task.state == "success"
            for task in self.airflow.tasks(run)
        )

    @property
    def _files(self) -> list[Path]:
        return [self.settings.dags / f"{self.folder.root.name}.{suffix}" for suffix in ("py", "toml")]

    def _wait_until_parsed(self) -> None:
        deadline = time.monotonic() + PARSE_TIMEOUT
        wanted = [self.ingest, self.verify]
        with self.say.waiting(f"Waiting for Airflow to read {self.folder.root.name}.py ..."):
            while True:
                found = [self.airflow.dag(dag) for dag in wanted]
                if all(
                    dag is not None and not dag["is_stale"] and not dag["has_import_errors"] for dag in found
                ):
                    return
                errors = self.airflow.import_errors()
                late = time.monotonic() > deadline
                # One of before the last change is about what was there then; Airflow reads the file again
                # within half a minute.
                since = max(map(_changed, self._files)) + timedelta(seconds=READ_TIMEOUT)
                mine = [
                    error.text
                    for error in errors
                    if Path(error.file).stem == self.folder.root.name and (late or error.at >= since)
                ]
                if mine:
                    raise UsageError(f"Airflow cannot read {self._files[0]}:\n{_readable_trace(mine[0])}")
                if late:
                    missing = [
                        name
                        for name, dag in zip(wanted, found, strict=True)
                        if dag is None or dag["is_stale"]
                    ]
                    others = (
                        f" Files with errors: {', '.join(sorted(error.file for error in errors))}."
                        if errors
                        else ""
                    )
                    raise UnavailableError(
                        f"Airflow has not read {' and '.join(missing or wanted)} from {self.settings.dags} within {PARSE_TIMEOUT:.0f} s."
                        f"{others} `headrace status` shows whether the dag-processor runs, and where its log is."
                    )
                time.sleep(EVERY)

    def _follow(self, run: Run) -> Run:
        """Print each change of a task's state until the run is over."""
        seen: dict[str, str] = {}
        explained: set[tuple[str, int]] = set()
        since = time.monotonic()
        began = since
        said_queued = False
        with self._live() as show:
            while True:
                run = self.airflow.run(run.dag, run.id)
                tasks = self.airflow.tasks(run)
                for task in tasks:
                    if seen.get(task.name) != task.state:
                        seen[task.name] = task.state
                        since = time.monotonic()
                        if not task.repeats_another:
                            self._say_task(task)
                    # The reason comes a moment after the state.
                    if (
                        task.state == "up_for_retry"
                        and (task.name, task.tries) not in explained
                        and (why := self.airflow.reason(run, task))
                    ):
                        explained.add((task.name, task.tries))
                        for line in why.splitlines():
                            self.say.line(f"    {line}")
                if run.is_over:
                    return run
                if run.state == "queued" and time.monotonic() - began > 5 and not said_queued:  # noqa: PLR2004  seconds
                    said_queued = True
                    self.say.line("  waits for another run of the same DAG to end, such as a scheduled one")
                if time.monotonic() - since > STALL_TIMEOUT:
                    raise UnavailableError(
                        f"{run.dag} has not moved on for {STALL_TIMEOUT / 60:.0f} minutes; it goes on without being watched. "
                        "`headrace status` shows whether the services run."
                    )
                show([task.name for task in tasks if task.state == "running"])
                time.sleep(EVERY)

    @contextmanager
    def _live(self) -> Iterator[_Show]:
        if not self.say.console.is_terminal:
            yield lambda _: None
            return
        with self.say.console.status("") as spinner:
            yield lambda names: spinner.update(
                f"{', '.join(names)} ..." if names else "waiting for the next task ..."
            )

    def _say_task(self, task: Task) -> None:
        if task.state in UNFINISHED_TASK - {"running", "up_for_retry"} or (
            task.state == "running" and self.say.console.is_terminal
        ):
            return
        seconds = f"{task.seconds:6.1f} s" if task.seconds is not None and task.state != "running" else ""
        tries = f"  (try {task.tries})" if task.tries > 1 or task.state == "up_for_retry" else ""
        style = {"success": "green", "failed": "bold red", "up_for_retry": "yellow"}.get(task.state)
        self.say.line(f"  {task.name:<20} {task.state.replace('_', ' '):<16}{seconds}{tries}", style)

    def _find_verify(self, ingest: Run) -> tuple[Run | None, Report | None]:
        """Follow the verify runs until one has an account of the ingest's receipt.

        Events can be merged, and a verify run that a scheduled ingest started may pick ours up, so only the
        report shows which.
        """
        over: set[str] = set()
        since = time.monotonic()
        while time.monotonic() - since < STALL_TIMEOUT:
            for run in self.airflow.runs(self.verify):
                if run.id in over or _ended_before(run, ingest):
                    continue
                over.add(run.id)
                since = time.monotonic()
                self.say.line(f"Following {self.verify}, run {run.id}.")
                ended = self._follow(run)
                report = self._report(ended)
                if report is not None and self._covers(report, ingest.id):
                    return ended, report
                is_red = not self._is_green(ended, report)
                if is_red and ended.started and ingest.ended and ended.started >= ingest.ended:
                    return ended, report
                self.say.line("  this run does not cover ours yet; waiting for the next one")
            time.sleep(EVERY)
        raise UnavailableError(
            f"No run of {self.verify} gave an account of {ingest.id} within {STALL_TIMEOUT / 60:.0f} minutes; "
            f"look at the DAG in the UI, or run `headrace verify {self.folder.root.name}`."
        )

    def _find_earlier(self, ingest: Run) -> tuple[Run | None, Report] | None:
        """The report that decides about a run that was over before, and the verify run that wrote it.

        A report by hand has none, and Airflow may have forgotten that of another.

        Raises `UsageError` if there is no such report, and no verify run that could still write one.
        """
        is_old = ingest.ended and datetime.now(UTC) - ingest.ended > timedelta(seconds=VERIFY_STARTS_WITHIN)
        is_settled = is_old and all(run.is_over for run in self.airflow.runs(self.verify))
        path = stored.of_run(self.folder, ingest.id, stored.Of.INGEST)
        report = documents.read(path, Report) if path else None
        verified = None
        if report and (verified := self.airflow.find_run(self.verify, report.run)):
            verified = self._follow(verified)
            report = self._report(verified)  # a cleared task may have written another
        elif path and not path.with_name(stored.PAGE).exists():
            report = None  # not final
        if report and (self._covers(report, ingest.id) or (is_settled and report.state == State.RED)):
            return verified, report
        if is_settled:
            name = self.folder.root.name
            raise UsageError(
                f"No report accounts for run {ingest.id}: none was written, or it has expired. "
                f"`headrace verify {name} {ingest.id}` checks its records again."
            )
        return None

    def _covers(self, report: Report, run: str) -> bool:
        """Say whether a report accounts for the run's batch, or else for all that it published."""
        if self.folder.receipt(run).exists():
            return any(receipt.run == run and receipt.state in LOOKED_AT for receipt in report.receipts)
        return {entry.number for entry in entries(self.folder) if entry.run == run} <= {
            batch.id for batch in report.micro_batches
        }

    def _report(self, run: Run) -> Report | None:
        path = self.folder.report(run.id) / "report.json"
        return documents.read(path, Report) if path.is_file() else None

    def _show(self, report: Report) -> None:
        from headrace.report import console  # noqa: PLC0415  needed once, at the end

        console.show(report, self.say.console)

    def _show_failures(self, run: Run) -> None:
        failed = [task for task in self.airflow.tasks(run) if task.has_failed]
        if not failed:
            self.say.line(
                f"{run.dag} ended as {run.state}, though no task failed; see its run {run.id} in the UI.",
                "bold red",
            )
        for task in [task for task in failed if not task.repeats_another] or failed:
            self.say.line(f"{task.name} of {run.dag} is red. The end of its log:", "bold red")
            try:
                lines = self.airflow.log(run, task)
            except HeadraceError as error:
                lines = [str(error)]
            for line in lines[-LOG_LINES:]:
                self.say.line(f"  {line}")


def _changed(file: Path) -> datetime:
    return (
        datetime.fromtimestamp(file.stat().st_mtime, UTC)
        if file.exists()
        else datetime.min.replace(tzinfo=UTC)
    )


def _readable_trace(trace: str) -> str:
    """What Headrace has to say is meant to be read alone; of other errors the whole trace is shown."""
    _, found, rest = trace.strip().rpartition("\nheadrace.errors.")
    return rest.partition(": ")[2] if found else trace.strip()


def _ended_before(run: Run, ingest: Run) -> bool:
    """Say whether the run was over before the ingest was, and so cannot know all of it."""
    return run.ended is not None and ingest.ended is not None and run.ended < ingest.ended
