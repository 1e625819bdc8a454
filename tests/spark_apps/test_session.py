"""The session's settings."""

from typing import Any, cast

import pytest
from pyspark.sql import SparkSession

from spark_apps.session import spark_session

pytestmark = pytest.mark.enable_socket


@pytest.mark.parametrize(
    "setting",
    [
        "sasl.jaas.config",
        "ssl.keystore.key",
        "ssl.key.password",
        "ssl.keystore.certificate.chain",
        "ssl.truststore.password",
    ],
)
def test_spark_shows_no_login_and_no_key(spark: SparkSession, setting: str) -> None:
    """What opens Kafka is left out wherever Spark prints options; an address is not."""
    assert spark
    session = spark_session("redaction", 1)
    options = {f"kafka.{setting}": "opens everything", "kafka.bootstrap.servers": "broker:9092"}
    jvm, there = cast("Any", session)._jvm, cast("Any", session)._jsparkSession  # noqa: SLF001  what Spark's plans go through is not in Python
    shown = there.sessionState().conf().redactOptions(jvm.PythonUtils.toScalaMap(options))
    assert "opens everything" not in shown.toString()
    assert "broker:9092" in shown.toString()
