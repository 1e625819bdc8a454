"""Headrace: Kafka to Spark to Parquet under Airflow, every record accounted for."""
