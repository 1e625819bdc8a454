"""What DAG files wire: the tasks, and what the DAGs have in common.

A DAG file is read every few seconds and once more by every task; whatever is imported at its top costs all of
them.
"""

from headrace.airflow.ingest_tasks import create_topics, preflight, produce_batch, stream_to_parquet
from headrace.airflow.schedules import DAG_DEFAULTS, schedule, verify_schedule
from headrace.airflow.verify_tasks import check, collect, report

__all__ = [
    "DAG_DEFAULTS",
    "check",
    "collect",
    "create_topics",
    "preflight",
    "produce_batch",
    "report",
    "schedule",
    "stream_to_parquet",
    "verify_schedule",
]
