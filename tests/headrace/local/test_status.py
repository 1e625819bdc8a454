"""What `status` and `doctor` say of a stack, with the supervisor's answers made up."""

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from headrace.errors import BrokerError, UnavailableError
from headrace.kafka.client import Kafka
from headrace.local import doctor, status
from headrace.local.client.console import Say
from headrace.local.embedded import airflow, ports, readiness
from headrace.local.embedded.services import State, Supervisor
from headrace.settings import Settings

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a stack whose services all run; its broker is frozen."""

    def silent(one: Kafka) -> int:
        raise BrokerError(f"Kafka did not answer within {one.timeout:.0f} s")

    states = [
        State(name, "RUNNING", 4711, NOW, tmp_path / f"{name}.log")
        for name in (readiness.KAFKA, *airflow.SERVICES)
    ]
    monkeypatch.setattr(Supervisor, "states", lambda _: states)
    monkeypatch.setattr(Kafka, "check_listeners", silent)
    monkeypatch.setattr(ports, "answers", lambda _: True)
    monkeypatch.setattr(ports, "is_refused", lambda _: False)
    monkeypatch.setattr(
        httpx, "get", lambda *_, **__: httpx.Response(503, request=httpx.Request("GET", "http://ui"))
    )
    return Settings.from_environment({"HEADRACE_HOME": str(tmp_path)})


def test_a_frozen_broker_is_said_to_be_frozen(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its process runs and its port is not refused, since the system listens for it.

    With its log and what helps.
    """
    assert not status.show(settings, Say())
    shown = capsys.readouterr().out
    assert "kafka" in shown
    assert "no answer" in shown
    frozen = f"did not answer within 3 s, though it listens: it is frozen or overloaded. Its log: {tmp_path}/kafka.log. If it was stopped, `kill -CONT 4711`"
    assert frozen in shown.replace("\n", " ")
    with pytest.raises(UnavailableError, match="did not answer within 3 s, though it listens"):
        doctor._services(settings)  # noqa: SLF001
