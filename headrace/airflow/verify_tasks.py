"""The tasks of a verify run. What a task needs is imported when it runs."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import getdoc
from typing import Any

from airflow.sdk import Context, get_current_context, task

from headrace.airflow.assets import newly_verified, verified
from headrace.airflow.connections import kafka_config
from headrace.airflow.outcomes import hold, without_traceback
from headrace.contract.pipeline import Pipeline
from headrace.dag_names import INGEST
from headrace.errors import UsageError
from headrace.settings import Settings

log = logging.getLogger(__name__)
"""Use this, not `print`: printed lines may appear later, in a folded group."""

FIRST_STREAM_LOOK = 10.0
"""Seconds between two looks whether a first stream has published something."""


def collect(pipeline: Pipeline) -> Any:
    """Decide what this run verifies: all that is published or receipted and not proven yet."""

    @task(task_id="collect", doc_md=getdoc(collect))
    def run() -> dict[str, Any]:
        import msgspec

        from headrace.ledger.folder import Folder
        from headrace.verify.scope import since_verified

        folder = Folder(Settings.from_environment().data / pipeline.name)
        with without_traceback():
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

    @task(task_id="check", doc_md=getdoc(check))
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
        with without_traceback():
            discard(folder, run_id)  # an earlier try's says nothing of what is there now
            while folder.is_being_written() and not folder.micro_batches():
                log.info(
                    "a stream is running its first micro-batch; waiting for it to publish that, or to end"
                )
                time.sleep(FIRST_STREAM_LOOK)
            kafka = Kafka(kafka_config())
            found = verify(
                folder,
                pipeline,
                kafka,
                lambda: with_new(msgspec.convert(scope, Scope), folder),
                lambda _: run_id,
                _log_progress,
                purpose=f"verify run {run_id}",
                ingest_is_running=lambda: _is_ingesting(pipeline),
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

    One that is queued while its DAG is paused does neither.
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
        doc_md=getdoc(report),
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
        with without_traceback():
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
