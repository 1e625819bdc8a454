"""Headrace's ids and keys in Airflow's database."""

INGEST, VERIFY = "_ingest", "_verify"
"""How the ids of a pipeline's DAGs end."""

REPAIR = "headrace_repair"
"""The DAG for repairs, of all pipelines."""

REASON = "headrace_reason"
"""Key of the XCom that says why a try failed: its number as `try`, and the `reason`."""
