"""The embedded stack: Kafka and Airflow as processes of this machine."""
