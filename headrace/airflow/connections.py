"""The two connections: where Kafka is and where Spark runs."""

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from headrace.errors import Code, UsageError
from headrace.settings import kafka_extra

KAFKA = "kafka_default"
SPARK = "spark_default"


def kafka_config() -> dict[str, str]:
    """The librdkafka settings in the extra of `kafka_default`. Raises `UsageError` if there are none."""
    return kafka_extra(KAFKA, _connection(KAFKA).extra_dejson)


def spark_master() -> str:
    """Where `spark_default` submits to.

    Raises `UsageError` if it is missing: stock Airflow would silently try YARN.
    """
    connection = _connection(SPARK)
    return f"{connection.host}:{connection.port}" if connection.port else str(connection.host)


def _connection(name: str) -> Connection:
    try:
        connection: Connection = Connection.get(name)
    except AirflowNotFoundException:
        raise UsageError(
            f"There is no connection {name}. Add it under Admin → Connections, or as AIRFLOW_CONN_{name.upper()}. On the embedded stack, `headrace up` writes it.",
            code=Code.CONNECTION_MISSING,
        ) from None
    return connection
