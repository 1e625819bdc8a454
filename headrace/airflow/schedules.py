"""When a pipeline's DAGs run, and what they have in common."""

from datetime import timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable

from headrace.airflow.assets import published
from headrace.contract.pipeline import Pipeline

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
        # A stream whose cluster has no worker waits for ever, and all later runs behind it.
        "execution_timeout": timedelta(hours=6),
    },
}
"""What all DAGs have in common. A red result is not tried again, whatever `retries` says: see
`without_traceback`."""


HOURLY = "0 * * * *"
"""When the limits of a pipeline without a schedule are looked at."""


def schedule(pipeline: Pipeline) -> CronTriggerTimetable | None:
    """The pipeline's cron schedule, in UTC, or `None`.

    Switching the DAG on starts no run: it waits for the next tick.
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
