"""How a task ends: its exception is the reason and what to do, and a red task keeps its run red."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from inspect import getdoc
from typing import Any

from airflow.sdk import BaseOperator, Context, TaskInstanceState, get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from headrace.airflow import reasons
from headrace.dag_names import REASON
from headrace.diagnosis import of_system
from headrace.errors import HeadraceError, UsageError
from headrace.text import in_lines


@contextmanager
def without_traceback() -> Iterator[None]:
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
    return failure(str(error), again=error.retryable)


def failure(reason: str, *, again: bool) -> AirflowException:
    """The exception with which a task ends. It is what an alert shows: the reason, and what to do."""
    text = in_lines(reason)
    with suppress(Exception):  # whatever keeps the reason from being left must not hide it
        # The plugin does so for any task, where Airflow has it.
        reasons.keep(get_current_context()["ti"], text)
    return (AirflowException if again else AirflowFailException)(text)


class NoDownstream(set[str]):
    """Rejects any task that is placed behind `outcome`."""

    def __init__(self, held: str) -> None:
        super().__init__()
        self.held = held

    def add(self, task_id: str) -> None:
        """Refuse a task, whichever way it is hung there.

        It may be hung there by either arrow, or behind a task group that ends with `outcome`.
        """
        raise UsageError(
            f"{task_id} can't be hung behind the task outcome: a green run skips that, and whatever is behind it. "
            f"Hang it behind {self.held}: `{self.held}(...) >> {task_id}`. (Behind a task group: name {self.held} instead of the group.)"
        )


class Outcome(BaseOperator):
    """Fails with the reason of the task that it is behind."""

    def __init__(self, *, held: str, **named: Any) -> None:
        super().__init__(**named)
        self.downstream_task_ids = NoDownstream(held)

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
        doc_md=getdoc(hold),
        held=name,
        trigger_rule="one_failed",
        retries=0,
        on_failure_callback=None,
    )
