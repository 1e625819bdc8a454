"""The tasks that DAG files wire. What a task needs is imported when it runs.

A DAG file is read every few seconds and once more by every task; whatever is imported at its top costs all of
them.
"""

import logging
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import (
    AssetOrTimeSchedule,
    BaseOperator,
    Context,
    CronTriggerTimetable,
    TaskInstanceState,
    get_current_context,
    task,
)
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from headrace.airflow import reasons
from headrace.airflow.assets import newly_verified, published, verified
from headrace.airflow.connections import SPARK, kafka_config, spark_master
from headrace.contract.pipeline import Pipeline
from headrace.dag_names import INGEST, REASON
from headrace.diagnosis import diagnose, of_system
from headrace.errors import Exit, HeadraceError, UnavailableError, UnwritableError, UsageError
from headrace.kafka.settings_file import kafka_file
from headrace.local.embedded.layout import Layout
from headrace.progress import Progress
from headrace.settings import ROOT, Settings
from headrace.text import in_lines

log = logging.getLogger(__name__)
"""What is printed instead takes another way to the task's log and can end up in a folded group behind it."""

DAG_DEFAULTS: dict[str, Any] = {
    "catchup": False,
    "max_active_runs": 1,
    # Not backfill, which the UI offers otherwise: what a run reads is decided by offsets, and no date of the
    # past has any of its own.
    "allowed_run_types": [
        "scheduled",
        "manual",
        "operator_triggered",
        "asset_triggered",
        "asset_materialization",
    ],
    "default_args": {
        "owner": "headrace",
        "retries": 2,  # for what may pass: a broker that restarts, a driver that was killed
        "retry_delay": timedelta(seconds=15),
        "execution_timeout": timedelta(
            hours=6
        ),  # a stream whose cluster has no worker waits for ever, and all later runs behind it
    },
}
"""What all DAGs have in common. A red result is not tried again, whatever `retries` says: see `plainly`."""


HOURLY = "0 * * * *"
"""When the limits of a pipeline without a schedule are looked at."""

FIRST_STREAM_LOOK = 10.0
"""Seconds between two looks whether a first stream has published something."""


def schedule(pipeline: Pipeline) -> CronTriggerTimetable | None:
    """The pipeline's cron schedule, in UTC, or `None`.

    A DAG that is switched on waits for the next tick; without a start date it may.
    """
    return (
        CronTriggerTimetable(pipeline.schedule, timezone="UTC", run_immediately=timedelta(0))
        if pipeline.schedule
        else None
    )


def verify_schedule(pipeline: Pipeline) -> Any:
    """When verify runs: after each ingest that published something.

    With `[limits]` also by the clock, so that silence is noticed.
    """
    if not pipeline.limits.any:
        return [published(pipeline)]
    by_clock = CronTriggerTimetable(pipeline.schedule or HOURLY, timezone="UTC", run_immediately=timedelta(0))
    return AssetOrTimeSchedule(assets=[published(pipeline)], timetable=by_clock)


@contextmanager
def plainly() -> Iterator[None]:
    """End a task with the error's own text, without a traceback, and try again only where that can help."""
    try:
        yield
    except HeadraceError as error:
        raise _ending(error) from None
    except (OSError, MemoryError) as error:
        if (known := of_system(error)) is None:
            raise
        raise _ending(known) from None


def _ending(error: HeadraceError) -> AirflowException:
    """The exception with which a task ends."""
    may_pass = isinstance(error, UnavailableError) and not isinstance(error, UnwritableError)
    return _failure(str(error), again=may_pass)


def _failure(reason: str, *, again: bool) -> AirflowException:
    """The exception with which a task ends. It is what an alert shows: the reason, and what to do."""
    text = in_lines(reason)
    with suppress(Exception):  # whatever keeps the reason from being left must not hide it
        reasons.keep(
            get_current_context()["ti"], text
        )  # the plugin does so for any task, where Airflow has it
    return (AirflowException if again else AirflowFailException)(text)


class Nothing(set[str]):
    """The ids of the tasks behind `outcome`."""

    def __init__(self, held: str) -> None:
        super().__init__()
        self.held = held

    def add(self, task_id: str) -> None:
        """Refuse a task, whichever way it is hung there.

        By either arrow, or behind a task group that ends with `outcome`.
        """
        raise UsageError(
            f"{task_id} can't be hung behind the task outcome: a green run skips that, and whatever is behind it. "
            f"Hang it behind {self.held}: `{self.held}(...) >> {task_id}`. (Behind a task group: name {self.held} instead of the group.)"
        )


class Outcome(BaseOperator):
    """Fails with the reason of the task that it is behind."""

    def __init__(self, *, held: str, **named: Any) -> None:
        super().__init__(**named)
        self.downstream_task_ids = Nothing(held)

    def execute(self, context: Context) -> None:
        """Name the task that failed, unless it is the one that this is behind, and repeat its reason."""
        ti, run = context["ti"], context["run_id"]
        before = {each.task_id: each for each in self.get_flat_relatives(upstream=True)}
        states = ti.get_task_states(dag_id=self.dag_id, task_ids=list(before), run_ids=[run])[run]
        failed = [task for name, task in before.items() if states.get(name) == TaskInstanceState.FAILED]
        if not failed:  # such as one copy of a mapped task
            raise AirflowFailException("A task before this one failed; its log says why.")
        nearest = max(failed, key=lambda task: len(task.get_flat_relative_ids(upstream=True))).task_id
        kept = ti.xcom_pull(task_ids=nearest, key=REASON)
        reason = kept["reason"] if kept else None
        if reason and nearest in self.upstream_task_ids:
            raise AirflowFailException(reason)
        raise AirflowFailException(
            f"{nearest} failed:\n{reason}" if reason else f"{nearest} failed; its log says why."
        )


def hold(task: Any, name: str) -> None:
    """Red if the task before it is, or could not run; skipped in a green run.

    It keeps the run red, whatever else runs after a red task.
    """
    # The task that failed calls the callbacks of `default_args`: one alert is enough.
    task >> Outcome(
        task_id="outcome",
        doc_md=hold.__doc__,
        held=name,
        trigger_rule="one_failed",
        retries=0,
        on_failure_callback=None,
    )


def preflight(pipeline: Pipeline) -> Any:
    """Fail in seconds where the run would fail in minutes."""

    @task(task_id="preflight", doc_md=preflight.__doc__)
    def run() -> None:
        from headrace.kafka.client import Kafka
        from headrace.ledger.folder import Folder
        from headrace.ledger.opening import foresee
        from headrace.preflight import check_against_ledger, check_file, checks

        folder = Folder(Settings.from_environment().data / pipeline.name)
        with plainly():
            log.info("Spark runs on %s (%s)", spark_master(), SPARK)
            check_file(pipeline)
            check_against_ledger(pipeline, folder)
            kafka = Kafka(kafka_config())
            for line in checks(kafka, folder.root):
                log.info("%s", line)
            for warning in foresee(folder, pipeline, kafka):
                log.warning("%s", warning)

    return run()


def create_topics(pipeline: Pipeline) -> Any:
    """Create the topics that don't exist; one that exists and differs from the pipeline file is an error."""

    @task(task_id="create_topics", doc_md=create_topics.__doc__)
    def run() -> list[str]:
        from headrace.kafka.admin import wider
        from headrace.kafka.client import Kafka
        from headrace.ledger.folder import Folder
        from headrace.ledger.opening import require_known_topics
        from headrace.text import plural

        with plainly():
            kafka = Kafka(kafka_config())
            require_known_topics(Folder(Settings.from_environment().data / pipeline.name), kafka)
            created = kafka.create(pipeline.topics)
            for warning in wider(pipeline.topics, kafka.describe([topic.name for topic in pipeline.topics])):
                log.warning("%s", warning)
        for topic in pipeline.topics:
            log.info(
                "topic %s: %s, %s",
                topic.name,
                "created" if topic.name in created else "is there",
                plural(topic.partitions, "partition"),
            )
        return created

    return run()


def produce_batch(pipeline: Pipeline) -> Any:
    """Produce the run's demo batch, or what is missing of it, and keep the receipt."""

    @task(task_id="produce_batch", doc_md=produce_batch.__doc__)
    def run() -> dict[str, Any]:
        from headrace.ledger.folder import Folder
        from producers.batch import produce_batch as produce

        began = datetime.now(UTC)
        context = get_current_context()
        params = context["params"]
        folder = Folder(Settings.from_environment().data / pipeline.name)
        with plainly():
            receipt = produce(
                pipeline,
                folder,
                kafka_config(),
                context["run_id"],
                records=params["records"],
                malformed=params["malformed"],
                seed=params["seed"],
            )
        if receipt is None:
            log.info(
                "the batch was complete and verified before, and its receipt has expired ([retention]); nothing was sent"
            )
            return {}
        for landing in receipt.landings:
            log.info(
                "%s: %s records acknowledged, offsets %d to %d",
                landing.place,
                f"{landing.count:,}",
                landing.lowest_offset,
                landing.highest_offset,
            )
        if receipt.completed_at and receipt.completed_at < began:
            log.info("the batch was complete before; nothing was sent")
        log.info(
            "all %s records acknowledged; seed %d, digest %s",
            f"{receipt.records:,}",
            receipt.seed,
            receipt.digest,
        )
        return {"records": receipt.records, "seed": receipt.seed, "digest": receipt.digest}

    return run()


NOISE = "Warning: Java versions > Java 11 can only operate in restricted mode where no off-heap operations are allowed!"
"""What Spark's sketch library prints on every start, past all loggers. Nothing here uses memory off the heap,
and there is nothing to do about it."""


class QuietSparkSubmit(SparkSubmitHook):
    """Submits as the original does, and leaves `NOISE` out of the task's log.

    As long as Spark prints nothing, it says what it waits for.
    """

    def _process_spark_submit_log(self, itr: Iterator[Any]) -> None:
        with Progress("starting Spark") as progress:
            super()._process_spark_submit_log(_heard(itr, progress))


def _heard(lines: Iterator[Any], progress: Progress) -> Iterator[Any]:
    for line in lines:
        if line.strip() != NOISE:
            progress.end()
            yield line


class StreamToParquet(SparkSubmitOperator):
    """Submits the Spark app; tries again what was killed, but not what the app itself calls red."""

    def __init__(self, *, pipeline: str, **named: Any) -> None:
        super().__init__(**named)
        self.pipeline = pipeline

    def execute(self, context: Context) -> None:
        """Submit and wait. The lines that the app logged say what is wrong."""
        with plainly():
            config = kafka_config()
            _refresh_spark()
        before = self._last_word()
        with kafka_file(config, Settings.from_environment().home) as file, TemporaryDirectory() as place:
            said = Path(place) / "reason"
            self.application_args = [*(self.application_args or []), "--kafka", file, "--reason", str(said)]
            self._submit(context, said)
        if self._last_word() == before:
            raise _failure(
                "spark-submit succeeded, but the app did not finish: streamed.json was not updated. The log above may say why. "
                "Retrying is safe: nothing is published twice.",
                again=True,
            )

    def _last_word(self) -> bytes | None:
        """What the app wrote when it last finished."""
        from headrace.ledger.folder import Folder

        streamed = Folder(Settings.from_environment().data / self.pipeline).streamed
        return streamed.read_bytes() if streamed.exists() else None

    def _submit(self, context: Context, said: Path) -> None:
        try:
            super().execute(context)
        except AirflowException as error:
            found = re.search(r"Error code is: (-?\d+)", str(error))
            code = int(found[1]) if found else None
            # A driver elsewhere in a cluster writes its reason there.
            reason = said.read_text(errors="replace").strip() if said.exists() else None
            if code in {Exit.RED_STREAM, Exit.USAGE}:
                raise _failure(
                    reason or "The stream is red; its log says why and what to do.", again=False
                ) from None
            if code in {-signal.SIGKILL, 128 + signal.SIGKILL}:
                ended = "The stream was killed: by hand, or by the system, as it does when memory runs out."
            else:
                ended = (
                    reason
                    or diagnose(str(error))
                    or f"The stream ended with exit code {'?' if code is None else code}; its log above says more."
                )
            raise _failure(f"{ended} Retrying is safe: nothing is published twice.", again=True) from None

    def _get_hook(self) -> SparkSubmitHook:
        hook = super()._get_hook()
        hook.__class__ = (
            QuietSparkSubmit  # the original is made of two dozen arguments, all of them as they should be
        )
        return hook


def _refresh_spark() -> None:
    """On the embedded stack, let what the user has changed in `spark_apps/conf` since its start count.

    Elsewhere Spark reads that, or its own.
    """
    conf = Layout.of(Settings.from_environment()).spark_conf
    if os.environ.get("SPARK_CONF_DIR") == str(conf):
        from headrace.local.embedded import spark

        spark.refresh(conf)


def stream_to_parquet(pipeline: Pipeline) -> Any:
    """Filter whatever is new into Parquet, each micro-batch published at once and accounted for."""
    stream = StreamToParquet(
        task_id="stream_to_parquet",
        doc_md=stream_to_parquet.__doc__,
        application=str(ROOT / "spark_apps" / "filter_stream.py"),
        conn_id=SPARK,
        name=pipeline.name,
        pipeline=pipeline.name,
        application_args=[
            "--pipeline",
            str(pipeline.path),
            "--data",
            str(Settings.from_environment().data),
            "--run",
            "{{ run_id }}",
        ],
        outlets=[published(pipeline)],
    )
    hold(stream, "stream_to_parquet")
    return stream


def collect(pipeline: Pipeline) -> Any:
    """Decide what this run verifies: all that is published or receipted and not proven yet."""

    @task(task_id="collect", doc_md=collect.__doc__)
    def run() -> dict[str, Any]:
        import msgspec

        from headrace.ledger.folder import Folder
        from headrace.verify.scope import since_verified

        folder = Folder(Settings.from_environment().data / pipeline.name)
        with plainly():
            if get_current_context()["triggering_asset_events"] and not folder.identity.exists():
                raise UsageError(
                    f"A stream has published something, but {folder.root} holds no ledger. If the folder was moved, put it back, "
                    "or set HEADRACE_DATA to where it is."
                )
            scope = since_verified(folder)
        log.info("micro-batches to judge again: %s", ", ".join(map(str, scope.micro_batches)) or "none")
        log.info("receipts to read back: %s", ", ".join(scope.receipts) or "none")
        return msgspec.to_builtins(scope)  # type: ignore[no-any-return]

    return run()


def check(pipeline: Pipeline, scope: Any) -> Any:
    """Read the records back, judge them again without Spark, compare them with the files.

    Stores the findings.
    """

    @task(task_id="check", doc_md=check.__doc__)
    def run(scope: dict[str, Any]) -> str:
        import msgspec

        from headrace.kafka.client import Kafka
        from headrace.ledger.folder import Folder
        from headrace.report import wording
        from headrace.verify.run import verify
        from headrace.verify.scope import Scope, with_new
        from headrace.verify.stored import discard

        folder = Folder(Settings.from_environment().data / pipeline.name)
        run_id = get_current_context()["run_id"]
        with plainly():
            discard(folder, run_id)  # an earlier try's says nothing of what is there now
            while folder.is_being_written() and not folder.micro_batches():
                log.info(
                    "a stream is running its first micro-batch; waiting for it to publish that, or to end"
                )
                time.sleep(FIRST_STREAM_LOOK)
            wanted = with_new(msgspec.convert(scope, Scope), folder)
            kafka = Kafka(kafka_config())
            found = verify(
                folder,
                pipeline,
                kafka,
                wanted,
                lambda _: run_id,
                _log_progress,
                ingest_is_running=_is_ingesting(pipeline),
            )
        outcome = wording.outcome(found)
        log.info(
            "%s.%s",
            outcome.sentence,
            "" if outcome.green else " The task report says what was found and what to do.",
        )
        return found.state.value

    return run(scope)


@contextmanager
def _log_progress(offsets: int) -> Iterator[Callable[[int], None]]:
    """Log how far the check has come."""
    from headrace.terminal import occasionally
    from headrace.text import plural

    log.info("judging %s again", plural(offsets, "offset"))
    yield occasionally(lambda done: log.info("%s done", plural(done, "offset")))


def _is_ingesting(pipeline: Pipeline) -> bool:
    """Whether an ingest runs or is about to.

    One that is queued while its DAG is switched off does neither.
    """
    ti, ingest = get_current_context()["ti"], f"{pipeline.name}{INGEST}"
    if ti.get_dr_count(dag_id=ingest, states=["running"]):
        return True
    return ti.get_dr_count(dag_id=ingest, states=["queued"]) > 0 and not ti.get_dag(ingest).is_paused


def report(pipeline: Pipeline, scope: Any) -> Any:
    """Write the report for people; fail if an invariant is broken.

    What it proves stays proven, even if the run is red for another reason.
    """
    news: list[int] = []

    def remember(_: Context) -> None:
        """Only once Airflow has the event: a task that dies before that announces it again."""
        from headrace.ledger.folder import Folder
        from headrace.verify.settle import announced

        for number in news:
            announced(Folder(Settings.from_environment().data / pipeline.name), number)

    @task(
        task_id="report",
        doc_md=report.__doc__,
        outlets=[newly_verified(pipeline)],
        on_success_callback=remember,
    )
    def run(scope: dict[str, Any]) -> str:
        import msgspec

        from headrace import documents
        from headrace.ledger.folder import Folder
        from headrace.report import console, wording
        from headrace.report.conclusion import conclude
        from headrace.verify.result import Report
        from headrace.verify.scope import Scope

        folder = Folder(Settings.from_environment().data / pipeline.name)
        path = folder.report(get_current_context()["run_id"])
        with plainly():
            if not (path / "report.json").exists():
                raise UsageError(
                    "The report of this run was removed, since it is older than [retention] says. Clear `check`."
                )
            found = documents.read(path / "report.json", Report)
            page = console.task_log()
            with page.capture() as shown:
                console.show(found, page, samples=False)
            for line in filter(str.strip, shown.get().splitlines()):
                log.info("%s", line)
            number = conclude(folder, pipeline, msgspec.convert(scope, Scope), found)
        outcome = wording.outcome(found)
        log.info(
            "%s%s",
            outcome.sentence,
            "" if number else f". Nothing new was verified, so {verified(pipeline).name} is not emitted.",
        )
        if number:
            events = get_current_context()["outlet_events"][newly_verified(pipeline)]
            events.add(verified(pipeline), extra=wording.summary(found))
            news.append(number)
        return str(path / "report.html")

    reported = run(scope)
    hold(reported, "report")
    return reported
