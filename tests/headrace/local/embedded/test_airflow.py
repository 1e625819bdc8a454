"""The environment of the embedded Airflow."""

from pathlib import Path

import pytest

from headrace.local import connections
from headrace.local.embedded import airflow
from headrace.local.embedded.layout import Layout
from headrace.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with moved ports."""
    return Settings.from_environment(
        {"HEADRACE_HOME": str(tmp_path), "HEADRACE_KAFKA_PORT": "19092", "HEADRACE_UI_PORT": "18080"}
    )


def test_all_ports_follow_the_two_that_are_named(settings: Settings) -> None:
    """Two checkouts run side by side."""
    made = airflow.environment(settings, {})
    assert made["AIRFLOW__API__PORT"] == "18080"
    assert made["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:18081/execution/"
    assert airflow.command(airflow.EXECUTION_API, settings)[-2:] == ["--port", "18081"]
    assert connections.embedded(settings)[connections.KAFKA].extra["bootstrap.servers"] == "127.0.0.1:19092"


def test_airflow_listens_on_this_machine_alone(settings: Settings) -> None:
    """Airflow's own default is every interface."""
    assert airflow.environment(settings, {})["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert "--skip-serve-logs" in airflow.SERVICES["scheduler"]
    assert "--skip-serve-logs" in airflow.SERVICES["triggerer"]


def test_keys_and_password_are_made_once(settings: Settings) -> None:
    """A second start signs and encrypts with the same keys."""
    assert airflow.environment(settings, {}) == airflow.environment(settings, {})


def test_keys_and_password_are_private(settings: Settings) -> None:
    """Only their owner can read them."""
    airflow.environment(settings, {})
    layout = Layout.of(settings)
    assert [path.stat().st_mode & 0o777 for path in (layout.secrets, layout.login)] == [0o600, 0o600]


def test_airflow_does_not_go_through_a_proxy_to_itself(settings: Settings) -> None:
    """What the user already excludes stays excluded."""
    assert (
        airflow.environment(settings, {"NO_PROXY": "intranet.example"})["NO_PROXY"]
        == "intranet.example,127.0.0.1,localhost"
    )
