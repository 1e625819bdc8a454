"""What the host can tell of the compose stack, with docker's answers made up; `tests/compose` asks the real one."""

import json
from pathlib import Path

import pytest

from headrace.errors import SurroundingsError
from headrace.local import compose
from headrace.settings import Settings

SETTINGS = Settings.from_environment({})


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole .env."""
    path = tmp_path / ".env"
    path.write_text("# secrets\n" + "".join(f"{name}=x=1\n" for name in compose.NEEDED))
    path.chmod(0o600)
    monkeypatch.setattr(compose, "ENV", path)
    return path


def test_whole_secrets_are_well(env: Path) -> None:
    """Values may hold any sign."""
    assert str(env) in compose.check_env(SETTINGS)
    assert compose.secrets() == dict.fromkeys(compose.NEEDED, "x=1")


def test_secrets_that_are_not_whole_are_told(env: Path) -> None:
    """Missing ones by name, then that others can read them, then that there are none."""
    whole = env.read_text()
    env.write_text(whole.replace("POSTGRES_PASSWORD=x=1\n", ""))
    with pytest.raises(SurroundingsError, match="lacks POSTGRES_PASSWORD"):
        compose.check_env(SETTINGS)
    env.write_text(whole)
    env.chmod(0o640)
    with pytest.raises(SurroundingsError, match="others can read"):
        compose.check_env(SETTINGS)
    env.unlink()
    with pytest.raises(SurroundingsError, match="make compose-up"):
        compose.check_env(SETTINGS)


def configured(kafka: str) -> str:
    """What `docker compose config` says."""
    wanted = compose.versions()
    built = {"SPARK_IMAGE": f"apache/spark:{wanted['spark']}-scala", "AIRFLOW_IMAGE": f"mirror/airflow:{wanted['airflow']}-python3.11"}
    services = {"kafka": {"image": kafka}, "spark-master": {"build": {"args": built}}, "scheduler": {"image": "headrace/airflow:1"}}
    return json.dumps({"services": services})


def test_an_image_of_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the version in its tag; whose image it is does not matter."""
    monkeypatch.setattr(compose, "docker", lambda *_: configured("apache/kafka:3.9.0"))
    with pytest.raises(SurroundingsError, match=r"apache/kafka:3\.9\.0 is not kafka"):
        compose.check_versions(SETTINGS)


def test_an_image_of_another_lock_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that was built before the lock changed holds other libraries."""
    kafka = f"apache/kafka:{compose.versions()['kafka']}"
    monkeypatch.setattr(compose, "docker", lambda *arguments: configured(kafka) if arguments[0] == "compose" else f"{'0' * 64}  lock\n")
    with pytest.raises(SurroundingsError, match=r"built from another requirements\.lock"):
        compose.check_versions(SETTINGS)


@pytest.mark.parametrize(
    ("service", "told", "well"),
    [
        ({"Service": "kafka", "State": "running", "Health": "healthy", "ExitCode": 0}, "healthy", True),
        ({"Service": "kafka", "State": "running", "Health": "unhealthy", "ExitCode": 0}, "unhealthy", False),
        ({"Service": "kafka", "State": "running", "Health": "starting", "ExitCode": 0}, "starting", False),
        ({"Service": "kafka", "State": "exited", "Health": "", "ExitCode": 0}, "exited", False),
        ({"Service": "airflow-init", "State": "exited", "Health": "", "ExitCode": 0}, "done", True),
        ({"Service": "airflow-init", "State": "exited", "Health": "", "ExitCode": 1}, "exited", False),
    ],
)
def test_states(service: dict[str, object], told: str, well: bool) -> None:  # noqa: FBT001, a column of the table above
    """Only what runs once may have ended, and only without an error."""
    assert (compose.state(service), compose.is_well(service)) == (told, well)


def test_docker_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than an error of the shell's."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SurroundingsError, match="Docker is not installed"):
        compose.check_engine(SETTINGS)
