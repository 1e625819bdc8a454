"""Why a task failed, kept as an XCom of its try: the tab "Report" and the task `outcome` show it.

Airflow itself has it in the task's log alone.

Airflow removes a task's XComs when its next try starts.
"""

from typing import Any

from airflow.listeners import hookimpl

from headrace.dag_names import INGEST, REASON, REPAIR, VERIFY

LONGEST = 4_000
"""Characters. What an exception says may hold anything."""


@hookimpl
def on_task_instance_failed(task_instance: Any, error: object) -> None:
    """Keep the exception of any task of our DAGs, a user's own included.

    Called in the task's process, and only there with an exception.
    """
    if isinstance(error, BaseException) and task_instance.dag_id.endswith((INGEST, VERIFY, REPAIR)):
        keep(task_instance, text(error))


def keep(task_instance: Any, reason: str) -> None:
    """Keep why a try failed."""
    task_instance.xcom_push(REASON, {"try": task_instance.try_number, "reason": reason})


def text(error: BaseException) -> str:
    """What an exception says, in text that can be stored; with its type if it is not one of Airflow's."""
    from airflow.sdk.exceptions import AirflowException  # noqa: PLC0415, every task's process loads this module

    said = str(error).strip()
    name = type(error).__name__
    found = said if said and isinstance(error, AirflowException) else f"{name}: {said}" if said else name
    return found[:LONGEST].encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
