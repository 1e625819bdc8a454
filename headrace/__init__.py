"""Headrace: Kafka to Spark to Parquet under Airflow, every record accounted for."""

__version__ = "0.1.0"
