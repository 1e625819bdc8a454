"""The environment, read once, and how to reach Kafka."""

import json
from pathlib import Path

import pytest

from headrace.errors import UsageError
from headrace.settings import CONNECTION, Settings

EXTRA = {"bootstrap.servers": "kafka:29092", "sasl.username": "me"}


def test_without_anything_said_kafka_is_the_embedded_broker() -> None:
    """On the port that the environment names."""
    assert Settings.from_environment({"HEADRACE_KAFKA_PORT": "19092"}).kafka_config == {
        "bootstrap.servers": "127.0.0.1:19092"
    }


@pytest.mark.parametrize("extra", [EXTRA, json.dumps(EXTRA)])
def test_in_an_airflow_service_kafka_is_the_connections(extra: object) -> None:
    """Airflow takes a connection's extra as an object and as text."""
    assert (
        Settings.from_environment(
            {CONNECTION: json.dumps({"conn_type": "kafka", "extra": extra})}
        ).kafka_config
        == EXTRA
    )


@pytest.mark.parametrize(
    "text", ["kafka://host:9092", "{}", '{"extra": {}}', '{"extra": "x"}', '{"extra": null}', "[]"]
)
def test_a_connection_of_another_form_breaks_nothing_that_does_not_need_it(text: str) -> None:
    """DAG files read the settings: only who asks for Kafka is told, with the variable's name."""
    settings = Settings.from_environment({CONNECTION: text})
    with pytest.raises(UsageError, match=CONNECTION):
        assert settings.kafka_config


def test_a_file_is_told_by_its_name(tmp_path: Path) -> None:
    """It need not be there for what does not talk to Kafka."""
    settings = Settings.from_environment({"HEADRACE_KAFKA": str(tmp_path / "kafka.json")})
    with pytest.raises(UsageError, match=r"kafka\.json can't be read"):
        assert settings.kafka_config
    (tmp_path / "kafka.json").write_text(json.dumps(EXTRA))
    assert settings.kafka_config == EXTRA


def test_a_make_command_is_about_the_stack_that_is_meant(tmp_path: Path) -> None:
    """What a person copies must not stop another checkout's, or the first one's."""
    assert Settings.from_environment({}).make("down") == "make down"
    other = tmp_path / "a home"
    assert (
        Settings.from_environment({"HEADRACE_HOME": str(other)}).make("down")
        == f"HEADRACE_HOME='{other}' make down"
    )
