"""A stack that is left on, or was off for long.

Airflow's database does not grow, and what aged out of Kafka meanwhile is no loss if it was published.
"""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from headrace.errors import Code, RefusedError
from headrace.settings import ROOT
from slices import TEXT, Slice, broken

OLD, LAST, NEW = "2026-01-01 00:00:00.000000", "2026-01-02 00:00:00.000000", "2026-03-01 00:00:00.000000"
BEFORE = datetime(2026, 2, 1, tzinfo=UTC).timestamp()


def ages_out(one: Slice) -> None:
    """Everything that is in the topic now leaves Kafka, as it does while a machine sleeps."""
    client = AdminClient({"bootstrap.servers": one.servers})
    ends = one.kafka.end([one.topic]).by_topic()[one.topic]
    for future in client.delete_records(
        [TopicPartition(one.topic, partition, end) for partition, end in ends.items()]
    ).values():
        future.result(30)


def test_after_eight_days_off_one_run_is_green(new_slice: Callable[..., Slice]) -> None:
    """What aged out was published and verified before.

    The next run goes on, and its verify is green, as is that of everything.
    """
    one = new_slice(TEXT)
    one.ingest("before", 60)
    assert broken(one.verify("first")) == {}
    ages_out(one)
    assert broken(one.verify("nothing new")) == {}
    one.ingest("after", 60)
    assert broken(one.verify("second")) == {}
    assert broken(one.verify("everything", all_of_it=True)) == {}


def test_after_eight_days_off_what_waited_is_red(new_slice: Callable[..., Slice]) -> None:
    """Records that no stream had read left Kafka: verify says so by I9 alone, and the stream is refused."""
    one = new_slice(TEXT)
    one.ingest("before", 60)
    assert broken(one.verify("first")) == {}
    one.write([(None, b"important")] * 30)
    ages_out(one)
    assert set(broken(one.verify("second"))) == {"I9"}
    with pytest.raises(RefusedError, check=Code.OFFSETS_LOST.fits):
        one.stream("after")


def rows(database: sqlite3.Connection, query: str) -> list[str]:
    """The first column of what a query finds."""
    return sorted(str(row[0]) for row in database.execute(query))


def test_old_rows_leave_airflows_database(tmp_path: Path) -> None:
    """Runs with their tasks, jobs and events; no archive is left.

    The last scheduled run stays, and who switched which DAG on or off.
    """
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db?timeout=30",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], env=environment, check=True, capture_output=True
    )
    with closing(sqlite3.connect(tmp_path / "airflow.db")) as database, database:
        database.execute("INSERT INTO dag_bundle (name) VALUES ('dags')")
        database.execute(
            "INSERT INTO dag (dag_id, is_paused, is_stale, bundle_name, timetable_type, max_active_tasks, max_consecutive_failed_dag_runs, "
            "has_task_concurrency_limits, partition_mapper_info, last_parsed_time) VALUES ('p', 1, 0, 'dags', '', 4, 0, 0, '{}', ?)",
            (OLD,),
        )
        for number, (run, kind, at) in enumerate(
            [("by_hand", "manual", OLD), ("last", "scheduled", LAST), ("new", "manual", NEW)]
        ):
            database.execute(
                "INSERT INTO dag_run (dag_id, run_id, run_type, run_after, start_date, state) VALUES ('p', ?, ?, ?, ?, 'success')",
                (run, kind, at, at),
            )
            database.execute(
                "INSERT INTO task_instance (id, task_id, dag_id, run_id, try_number, pool, pool_slots, start_date, state) "
                "VALUES (?, 't', 'p', ?, 1, 'default_pool', 1, ?, 'success')",
                (f"{number:032}", run, at),
            )
            database.execute("INSERT INTO job (latest_heartbeat, dag_id) VALUES (?, ?)", (at, run))
        for event, at in (("running", OLD), ("patch_dag", OLD), ("success", NEW)):
            database.execute("INSERT INTO log (dttm, event, dag_id) VALUES (?, ?, 'p')", (at, event))
    subprocess.run(
        [sys.executable, "-m", "headrace.airflow.old_rows", str(BEFORE)], env=environment, check=True
    )
    with closing(sqlite3.connect(tmp_path / "airflow.db")) as database:
        assert rows(database, "SELECT run_id FROM dag_run") == ["last", "new"]
        assert rows(database, "SELECT run_id FROM task_instance") == ["new"]
        assert rows(database, "SELECT dag_id FROM job") == ["new"]
        assert rows(database, "SELECT event FROM log WHERE dag_id = 'p'") == ["patch_dag", "success"]
        assert rows(database, "SELECT dag_id FROM dag WHERE is_paused") == ["p"]
        assert not [
            name
            for name in rows(database, "SELECT name FROM sqlite_master")
            if name.startswith("_airflow_deleted")
        ]
