"""The embedded stack (Java, jars, broker, Airflow on 127.0.0.1) and the compose stack as the host sees it."""
