"""The tasks of a run as Airflow's database has them, for the API server's process."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select
from sqlalchemy.orm import Session

from headrace.dag_names import REASON
from headrace.report.html import Task, TaskState

STATES = {
    TaskInstanceState.FAILED: TaskState.FAILED,
    TaskInstanceState.UP_FOR_RETRY: TaskState.TRIED_AGAIN,
    TaskInstanceState.RUNNING: TaskState.RUNNING,
    TaskInstanceState.RESTARTING: TaskState.RUNNING,
    TaskInstanceState.DEFERRED: TaskState.RUNNING,
    TaskInstanceState.UP_FOR_RESCHEDULE: TaskState.RUNNING,
    TaskInstanceState.AWAITING_INPUT: TaskState.ASKING,
    TaskInstanceState.SCHEDULED: TaskState.WAITING,
    TaskInstanceState.QUEUED: TaskState.WAITING,
}
"""States that say why a run has no report. Tasks that succeeded, were skipped, or were not started because of
a failed one are not named."""


def tasks_of(session: Session, dag_id: str, run_id: str, base: str, *, reasons: bool) -> list[Task]:
    """The tasks of a run that failed, run or are about to, in the order in which they began.

    Args:
        base: Address of Airflow's UI.
        reasons: Whether to say why a task failed.
    """
    ours = (TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
    found = session.execute(
        select(TaskInstance.task_id, TaskInstance.map_index, TaskInstance.try_number, TaskInstance.state)
        .where(*ours, TaskInstance.state.in_(list(STATES)))
        .order_by(TaskInstance.start_date, TaskInstance.task_id, TaskInstance.map_index)
    ).all()
    kept = _reasons(session, dag_id, run_id) if reasons and found else {}
    return [
        Task(
            name=task_id if map_index < 0 else f"{task_id} [{map_index}]",
            state=STATES[TaskInstanceState(state)],
            try_number=try_number,
            reason=kept.get((task_id, map_index, try_number)),
            log=_log(base, dag_id, run_id, (task_id, map_index, try_number)),
            log_before=_log(base, dag_id, run_id, (task_id, map_index, try_number - 1))
            if try_number > 1
            else None,
        )
        for task_id, map_index, try_number, state in found
    ]


def _reasons(session: Session, dag_id: str, run_id: str) -> dict[tuple[str, int, int], str]:
    """Task, map index and try → why it failed."""
    kept: Iterable[Any] = session.execute(
        select(XComModel.task_id, XComModel.map_index, XComModel.value).where(
            XComModel.dag_id == dag_id, XComModel.run_id == run_id, XComModel.key == REASON
        )
    ).all()
    return {
        (task_id, map_index, value["try"]): str(value["reason"])
        for task_id, map_index, value in kept
        if isinstance(value, dict) and value.keys() >= {"try", "reason"}
    }


def _log(base: str, dag_id: str, run_id: str, task: tuple[str, int, int]) -> str:
    task_id, map_index, try_number = task
    mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
    place = "/".join(quote(each, safe="") for each in ("dags", dag_id, "runs", run_id, "tasks", task_id))
    return f"{base}/{place}{mapped}?try_number={try_number}"
