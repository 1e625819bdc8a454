"""The two connections: where Kafka is and where Spark runs."""

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from headrace.errors import MistakeError

KAFKA = "kafka_default"
SPARK = "spark_default"


def kafka_config() -> dict[str, str]:
    """The librdkafka settings in the extra of `kafka_default`. Raises `MistakeError` if there are none."""
    config = {key: str(value) for key, value in _connection(KAFKA).extra_dejson.items()}
    if not config.get("bootstrap.servers"):
        raise MistakeError(f'The connection {KAFKA} names no broker. Its extra must hold {{"bootstrap.servers": "host:port"}}.')
    return config


def spark_master() -> str:
    """Where `spark_default` submits to. Raises `MistakeError` if it is missing: stock Airflow would silently try YARN."""
    connection = _connection(SPARK)
    return f"{connection.host}:{connection.port}" if connection.port else str(connection.host)


def _connection(name: str) -> Connection:
    try:
        connection: Connection = Connection.get(name)
    except AirflowNotFoundException:
        raise MistakeError(f"There is no connection {name}. Add it under Admin → Connections, or as AIRFLOW_CONN_{name.upper()}.") from None
    return connection
