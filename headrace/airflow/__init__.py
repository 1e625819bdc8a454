"""Airflow's side: the tasks that the DAG files wire."""
