"""Which task of a run failed and why: what is kept in the task's process, and what the tab makes of it."""

import uuid
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from headrace.errors import UsageError
from headrace.report.html import TaskState

with warnings.catch_warnings(action="ignore"):  # a library of Airflow's imports a deprecated test client
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.sdk.exceptions import AirflowFailException
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import insert

    from headrace import dag_names
    from headrace.airflow import reasons
    from headrace.airflow.outcomes import without_traceback
    from headrace.airflow.run_tasks import tasks_of

DAG, RUN = "important_messages_ingest", "manual__2026-11-22T21:15:00+00:00"
BEGAN = datetime(2026, 11, 22, 21, 15, tzinfo=UTC)


@pytest.fixture
def session() -> Iterator[Session]:
    """Two tables of Airflow's database, empty."""
    import_all_models()  # type: ignore[no-untyped-call]  # which tables refer to
    engine = create_engine("sqlite://")
    Base.metadata.create_all(
        engine, tables=[Base.metadata.tables[name] for name in ("task_instance", "xcom")]
    )
    with Session(engine) as session:
        yield session
    engine.dispose()


def add(
    session: Session,
    task_id: str,
    state: str | None,
    *,
    run_id: str = RUN,
    map_index: int = -1,
    try_number: int = 1,
) -> None:
    """Put a task of a run there; one that is added later began later."""
    began = BEGAN + timedelta(seconds=session.query(TaskInstance).count())
    usual = {
        "pool_slots": 1,
        "max_tries": 2,
        "queue": "default",
        "pool": "default_pool",
        "priority_weight": 1,
        "executor_config": b"",
    }
    where = {"dag_id": DAG, "run_id": run_id, "task_id": task_id, "map_index": map_index}
    row = {
        **usual,
        **where,
        "id": uuid.uuid4(),
        "state": state,
        "try_number": try_number,
        "start_date": began,
    }
    session.execute(insert(TaskInstance.__table__).values(**row))


def keep(session: Session, task_id: str, value: object, map_index: int = -1) -> None:
    """Put an XCom there, as a failed task left it."""
    where = {"dag_id": DAG, "run_id": RUN, "task_id": task_id, "map_index": map_index, "dag_run_id": 1}
    session.execute(
        insert(XComModel.__table__).values(**where, key=dag_names.REASON, value=value, timestamp=BEGAN)
    )


class Try:
    """A task in its own process."""

    def __init__(self, dag_id: str = DAG) -> None:
        self.dag_id = dag_id
        self.try_number = 2
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: object) -> None:
        """Keep an XCom."""
        self.pushed[key] = value


def test_the_reason_is_the_exception_of_whatever_task() -> None:
    """A task of Headrace's ends with reason and way out.

    One of the user's own with any exception, whose type is a part of what it says.
    """
    with pytest.raises(AirflowFailException) as caught, without_traceback():
        raise UsageError("There is no connection kafka_default. Add it.")
    for error, reason in (
        (caught.value, "There is no connection kafka_default. Add it."),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (SystemExit(), "SystemExit"),
        (ValueError("\ud800\0" + "x" * 100_000), "ValueError: \\ud800\\0" + "x" * (reasons.LONGEST - 14)),
    ):
        mine = Try()
        reasons.on_task_instance_failed(mine, error)
        assert mine.pushed == {dag_names.REASON: {"try": 2, "reason": reason}}


def test_other_dags_and_what_was_marked_by_hand_leave_nothing() -> None:
    """The plugin hears of every DAG. A task that a user marks as failed comes from another process."""
    other, marked = Try("example"), Try()
    reasons.on_task_instance_failed(other, ValueError("x"))
    reasons.on_task_instance_failed(marked, "TaskInstance's state was manually set to `failed`.")
    assert (other.pushed, marked.pushed) == ({}, {})


def test_a_failed_task_has_its_name_its_reason_and_its_log(session: Session) -> None:
    """Of this run alone; those behind it are none of the reason."""
    add(session, "create_topics", "success")
    add(session, "stream_to_parquet", "failed", try_number=3)
    add(session, "outcome", "upstream_failed")
    add(session, "preflight", "failed", run_id="manual__other")
    keep(session, "stream_to_parquet", {"try": 3, "reason": "no memory"})
    (found,) = tasks_of(session, DAG, RUN, "/airflow", reasons=True)
    assert (found.name, found.state, found.try_number, found.reason) == (
        "stream_to_parquet",
        TaskState.FAILED,
        3,
        "no memory",
    )
    quoted = "manual__2026-11-22T21%3A15%3A00%2B00%3A00"
    assert found.log == f"/airflow/dags/{DAG}/runs/{quoted}/tasks/stream_to_parquet?try_number=3"
    assert [each.reason for each in tasks_of(session, DAG, RUN, "", reasons=False)] == [None]


@pytest.mark.parametrize("value", [{"try": 1, "reason": "an earlier try's"}, "text", None, {"try": 2}])
def test_a_reason_is_that_of_the_latest_try_or_none(session: Session, value: object) -> None:
    """A task that was cleared and then killed has left none.

    The one before is not taken for it, nor is anything that others pushed.
    """
    add(session, "stream_to_parquet", "failed", try_number=2)
    keep(session, "stream_to_parquet", value)
    assert [each.reason for each in tasks_of(session, DAG, RUN, "", reasons=True)] == [None]


def test_while_a_task_is_tried_again_the_log_of_the_try_before_is_a_click_away(session: Session) -> None:
    """Airflow forgets the reason when the next try starts."""
    add(session, "stream_to_parquet", "running", try_number=2)
    (found,) = tasks_of(session, DAG, RUN, "", reasons=True)
    assert str(found.log_before).endswith("?try_number=1")
    assert found.log.endswith("?try_number=2")
    add(session, "preflight", "running", run_id="manual__other")
    assert [each.log_before for each in tasks_of(session, DAG, "manual__other", "", reasons=True)] == [None]


def test_a_task_that_has_succeeded_is_not_named_any_more(session: Session) -> None:
    """After it was cleared the run has no failed task."""
    add(session, "stream_to_parquet", "success", try_number=2)
    keep(session, "stream_to_parquet", {"try": 1, "reason": "no memory"})
    assert tasks_of(session, DAG, RUN, "", reasons=True) == []


def test_tasks_are_in_the_order_in_which_they_began(session: Session) -> None:
    """Mapped ones have their number, and each its own reason."""
    add(session, "z", "failed")
    add(session, "a", "failed", map_index=1)
    add(session, "a", "running", map_index=0)
    keep(session, "a", {"try": 1, "reason": "mine"}, map_index=1)
    found = tasks_of(session, DAG, RUN, "", reasons=True)
    assert [(each.name, each.reason) for each in found] == [("z", None), ("a [1]", "mine"), ("a [0]", None)]
    assert found[1].log.endswith("/tasks/a/mapped/1?try_number=1")


@pytest.mark.parametrize("state", [each.value for each in TaskInstanceState])
def test_any_state_is_known(session: Session, state: str) -> None:
    """Or is no reason for a report not to be there."""
    add(session, "one", state)
    named = bool(tasks_of(session, DAG, RUN, "", reasons=True))
    assert named is (state not in {"success", "skipped", "upstream_failed", "removed"})
