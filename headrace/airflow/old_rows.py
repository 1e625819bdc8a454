"""Removes old rows from Airflow's database, as `airflow db clean` does.

Without an archive of what it removes.

python -m headrace.airflow.old_rows SECONDS       what is from before that moment, in seconds since 1970
"""

import contextlib
import io
import sys

from airflow.models.log import Log
from airflow.utils.db_cleanup import run_cleanup
from airflow.utils.session import create_session
from pendulum import DateTime, from_timestamp
from sqlalchemy import delete

TABLES = [
    "asset_event",
    "dag_run",
    "dag_version",
    "import_error",
    "job",
    "revoked_token",
    "task_instance",
    "task_instance_history",
    "task_reschedule",
    "xcom",
]
"""The tables that grow with the runs. `dag` is not among them: on a machine that was off for a month Airflow
would forget all DAGs, and which of them are switched on. Of `log` only some rows go."""

SWITCHED = "patch_dag"
"""The event of a user who switches a DAG on or off: `headrace run` looks for it, however long ago it was."""

AT_ONCE = 500
"""Rows in one transaction: others wait for it, SQLite's all."""


def remove(before: DateTime) -> None:
    """Remove what is from before a moment; of each DAG the last scheduled run stays.

    Raises `RuntimeError` if a table could not be cleaned.
    """
    run_cleanup(
        clean_before_timestamp=before,
        table_names=TABLES,
        confirm=False,
        skip_archive=True,
        batch_size=AT_ONCE,
        error_on_cleanup_failure=True,
    )
    with create_session() as session:
        session.execute(delete(Log).where(Log.dttm < before, Log.event != SWITCHED))


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):  # a line for each table and lot
        remove(from_timestamp(float(sys.argv[1])))
