"""What the host can tell of the compose stack, with docker's answers made up.

`tests/compose` asks the real one.
"""

import hashlib
import json
from pathlib import Path

import pytest
from confluent_kafka.admin import BrokerMetadata

from headrace.errors import BrokerError, Code, UnavailableError
from headrace.kafka.client import Kafka
from headrace.local import compose
from headrace.local.embedded import ports
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
    with pytest.raises(UnavailableError, check=Code.SECRETS.fits):
        compose.check_env(SETTINGS)
    env.write_text(whole)
    env.chmod(0o640)
    with pytest.raises(UnavailableError, check=Code.SECRETS.fits):
        compose.check_env(SETTINGS)
    env.unlink()
    with pytest.raises(UnavailableError, match="make compose-up"):
        compose.check_env(SETTINGS)


def configured(kafka: str) -> str:
    """What `docker compose config` says."""
    wanted = compose.versions()
    built = {
        "SPARK_IMAGE": f"apache/spark:{wanted['spark']}-scala",
        "AIRFLOW_IMAGE": f"mirror/airflow:{wanted['airflow']}-python3.11",
    }
    services = {
        "kafka": {"image": kafka},
        "airflow-init": {"build": {"args": built}},
        "scheduler": {"image": "headrace/airflow:1"},
    }
    return json.dumps({"services": services})


def test_an_image_of_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the version in its tag; whose image it is does not matter."""
    monkeypatch.setattr(compose, "docker", lambda *_: configured("apache/kafka:3.9.0"))
    with pytest.raises(UnavailableError, match=r"apache/kafka:3\.9\.0 is not kafka"):
        compose.check_versions(SETTINGS)


@pytest.mark.parametrize("digest", ["", "@sha256:" + "0" * 64])
def test_an_image_may_be_pinned_by_its_digest(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version is the tag's all the same."""
    lock = hashlib.sha256(compose.LOCK.read_bytes()).hexdigest()
    kafka = f"apache/kafka:{compose.versions()['kafka']}{digest}"
    monkeypatch.setattr(
        compose,
        "docker",
        lambda *arguments: configured(kafka) if arguments[0] == "compose" else f"{lock}  lock\n",
    )
    assert "kafka" in compose.check_versions(SETTINGS)


def test_an_image_of_another_lock_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that was built before the lock changed holds other libraries."""
    kafka = f"apache/kafka:{compose.versions()['kafka']}"
    monkeypatch.setattr(
        compose,
        "docker",
        lambda *arguments: configured(kafka) if arguments[0] == "compose" else f"{'0' * 64}  lock\n",
    )
    with pytest.raises(UnavailableError, check=Code.IMAGE_OTHER.fits):
        compose.check_versions(SETTINGS)


HEALTHY = {"State": "running", "Health": "healthy", "ExitCode": 0}


def containers(**health: str) -> list[dict[str, object]]:
    """What docker says of containers: name and health."""
    return [{**HEALTHY, "Service": name, "Health": each} for name, each in health.items()]


@pytest.mark.parametrize("form", ["a line each", "one list"])
def test_a_service_that_is_not_well_is_told(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its state; compose says it in one list or, since 2.21, in a line for each container."""
    answers = containers(kafka="healthy", scheduler="unhealthy")
    said = json.dumps(answers) if form == "one list" else "\n".join(map(json.dumps, answers))
    monkeypatch.setattr(compose, "docker", lambda *_: said)
    with pytest.raises(UnavailableError, match=r"^scheduler is unhealthy; `docker compose logs"):
        compose.check_services(SETTINGS)


def test_a_service_without_a_container_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs may be well and still not all of it; none at all is another matter."""
    told = {
        "ps": "\n".join(map(json.dumps, containers(kafka="healthy"))),
        "config": "kafka\nscheduler\ntriggerer\n",
    }
    monkeypatch.setattr(compose, "docker", lambda *arguments: told[arguments[1]])
    with pytest.raises(UnavailableError, check=Code.SERVICE_DOWN.fits):
        compose.check_services(SETTINGS)
    told["config"] = "kafka\n"
    assert compose.check_services(SETTINGS) == "1 are well"
    told["ps"] = ""
    with pytest.raises(UnavailableError, check=Code.SERVICE_DOWN.fits):
        compose.check_services(SETTINGS)


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that answers, and advertises an address that leads nowhere."""
    broker = BrokerMetadata()
    broker.host, broker.port = "elsewhere", 9092

    def refuse(address: tuple[str, int], _: float) -> None:
        raise ConnectionRefusedError(address)

    monkeypatch.setattr(Kafka, "_connected", lambda _: (None, [broker]))
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr(ports, "answers", lambda _: True)


@pytest.mark.usefixtures("unreachable")
def test_a_wrong_listener_for_the_host_is_told() -> None:
    """The published port accepts, and what Kafka advertises behind it cannot be reached from here."""
    with pytest.raises(BrokerError, match=r"elsewhere:9092 .* advertises"):
        compose.check_external(SETTINGS)


def test_a_port_that_nothing_listens_on_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no matter of what is advertised."""
    monkeypatch.setattr(ports, "answers", lambda _: False)
    with pytest.raises(UnavailableError, check=Code.KAFKA_UNREACHABLE.fits):
        compose.check_external(SETTINGS)


@pytest.mark.usefixtures("unreachable")
def test_a_wrong_listener_for_containers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the container says comes through in one line, without a traceback."""

    def inside(*arguments: str) -> str:
        assert arguments[:4] == ("compose", "exec", "-T", "scheduler")
        try:
            exec(arguments[-1], {})  # noqa: S102  as the container's Python would
        except SystemExit as end:
            raise UnavailableError(f"it says: {end}") from None
        return ""

    monkeypatch.setattr(compose, "docker", inside)
    with pytest.raises(
        UnavailableError,
        match=r"^from within the service scheduler: it says: Kafka can't be reached at elsewhere:9092",
    ):
        compose.check_internal(SETTINGS)


@pytest.mark.parametrize(
    ("service", "told", "well"),
    [
        ({"Service": "kafka", "State": "running", "Health": "healthy", "ExitCode": 0}, "healthy", True),
        ({"Service": "kafka", "State": "running", "Health": "unhealthy", "ExitCode": 0}, "unhealthy", False),
        ({"Service": "kafka", "State": "running", "Health": "starting", "ExitCode": 0}, "starting", False),
        ({"Service": "kafka", "State": "exited", "Health": "", "ExitCode": 0}, "exited", False),
        ({"Service": "airflow-init", "State": "exited", "Health": "", "ExitCode": 0}, "done", True),
        ({"Service": "connections", "State": "exited", "Health": "", "ExitCode": 0}, "done", True),
        ({"Service": "airflow-init", "State": "exited", "Health": "", "ExitCode": 1}, "exited", False),
    ],
)
def test_states(service: dict[str, object], told: str, well: bool) -> None:
    """Only what runs once may have ended, and only without an error."""
    assert (compose.state(service), compose.is_well(service)) == (told, well)


def test_docker_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than an error of the shell's."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, check=Code.NO_DOCKER.fits):
        compose.check_engine(SETTINGS)
