"""Connections that a stack writes, and the one by which the command reaches Kafka.

Airflow's API is made up; `tests/integration` asks the real one.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.errors import Code, UnavailableError, UsageError
from headrace.local import compose, connections
from headrace.local.client import current
from headrace.local.client.rest import Airflow
from headrace.local.connections import KAFKA, SPARK, Connection
from headrace.settings import ROOT, Settings


class Api:
    """Airflow's API, as far as connections go: it masks what is called a password."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {}
        self.written: list[str] = []
        self.is_slow = False

    @property
    def airflow(self) -> Airflow:
        """A client."""
        return Airflow(httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(self._answer)))

    def save(self, name: str, extra: Mapping[str, object]) -> None:
        """Save a connection as a user does, with the fields that the form leaves empty."""
        self.held[name] = {
            "connection_id": name,
            "conn_type": "kafka",
            "host": "",
            "login": "",
            "port": None,
            "extra": json.dumps(extra),
        }

    def exact(self, name: str) -> Connection | None:
        """A connection with its secrets."""
        return Connection.of(self.held[name]) if name in self.held else None

    def found(self, name: str = KAFKA) -> dict[str, Any]:
        """The extra of a connection."""
        found: dict[str, Any] = json.loads(self.held[name]["extra"])
        return found

    def _answer(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rpartition("/")[2]
        if request.method == "GET":
            if name not in self.held:
                return httpx.Response(404)
            shown = {
                key: connections.MASK if "password" in key else value
                for key, value in self.found(name).items()
            }
            return httpx.Response(200, json={**self.held[name], "extra": json.dumps(shown)})
        body = json.loads(request.content)
        if request.method == "POST" and body["connection_id"] in self.held:
            return httpx.Response(409)
        self.held[body["connection_id"]] = body
        self.written.append(body["connection_id"])
        if self.is_slow:
            raise httpx.ReadTimeout("too late")
        return httpx.Response(200, json=body)


@pytest.fixture
def api() -> Api:
    """An API of a new database."""
    return Api()


def kafka(port: int = 9092, **more: str) -> dict[str, Connection]:
    """A connection that a stack wants."""
    return {KAFKA: Connection("kafka", extra={"bootstrap.servers": f"127.0.0.1:{port}", **more})}


def keep(api: Api, wanted: Mapping[str, Connection], note: Path) -> list[str]:
    """Write what is to be written; returns the names of what was."""
    api.written.clear()
    connections.keep(api.airflow, wanted, note, api.exact, lambda _: None)
    return list(api.written)


def test_absent_connections_are_written_once(api: Api, tmp_path: Path) -> None:
    """The second start finds them; the digests are nobody else's to read."""
    wanted, note = connections.embedded(Settings.from_environment({})), tmp_path / "connections.json"
    assert not connections.are_kept(wanted, note)
    assert keep(api, wanted, note) == [KAFKA, SPARK]
    assert keep(api, wanted, note) == []
    assert connections.are_kept(wanted, note)
    assert note.stat().st_mode & 0o077 == 0
    assert api.found() == {"bootstrap.servers": "127.0.0.1:9092"}
    assert (api.held[SPARK]["host"], api.found(SPARK)["deploy-mode"]) == ("local[2]", "client")


def test_a_connection_whose_answer_came_too_late_is_there(api: Api, tmp_path: Path) -> None:
    """Asked again, the API says that there is one."""
    api.is_slow = True
    assert keep(api, kafka(), tmp_path / "note") == [KAFKA]
    assert connections.are_kept(kafka(), tmp_path / "note")


@pytest.mark.parametrize("password", ["", "secret"])
def test_what_nobody_has_changed_follows_the_stack(api: Api, tmp_path: Path, password: str) -> None:
    """A port or a password changed; also where the API hides a part of what is there."""
    note, login = tmp_path / "note", {"sasl.password": password} if password else {}
    keep(api, kafka(9092, **login), note)
    assert keep(api, kafka(19092, **login), note) == [KAFKA]
    assert api.found()["bootstrap.servers"] == "127.0.0.1:19092"


@pytest.mark.parametrize(
    "change",
    [
        {"bootstrap.servers": "kafka.example.com:9092"},
        {"bootstrap.servers": "127.0.0.1:9092", "sasl.password": "mine"},
    ],
)
def test_what_a_user_has_changed_stays(api: Api, tmp_path: Path, change: dict[str, str]) -> None:
    """Also a password alone, which the API does not show; and later starts don't wait for it."""
    note = tmp_path / "note"
    keep(api, kafka(9092, **{"sasl.password": "ours"} if "sasl.password" in change else {}), note)
    api.save(KAFKA, change)
    assert keep(api, kafka(19092), note) == []
    assert api.found() == change
    assert connections.are_kept(kafka(19092), note)


def test_what_was_there_before_is_the_users_own(api: Api, tmp_path: Path) -> None:
    """Until it is deleted: then the stack writes its own."""
    note = tmp_path / "note"
    api.save(KAFKA, {"bootstrap.servers": "kafka.example.com:9092"})
    assert keep(api, kafka(), note) == keep(api, kafka(19092), note) == []
    del api.held[KAFKA]
    assert keep(api, kafka(19092), note) == [KAFKA]
    assert keep(api, kafka(29092), note) == [KAFKA]


SETTINGS = Settings.from_environment({})


def shows(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the API be that of the stack that is up."""

    @contextmanager
    def connected(*_: object) -> Iterator[Airflow]:
        yield api.airflow

    monkeypatch.setattr(Airflow, "connected", connected)


@pytest.fixture
def embedded(api: Api, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An embedded stack that is up; the names of connections for which Airflow's own code was asked."""
    asked: list[str] = []

    def stored(name: str, _: object) -> Connection | None:
        asked.append(name)
        return api.exact(name)

    shows(api, monkeypatch)
    monkeypatch.setattr(current, "environment", lambda _: {"HEADRACE_UI_PORT": "8080"})
    monkeypatch.setattr(connections, "stored", stored)
    return asked


def test_the_command_reads_the_connection_of_the_dags(api: Api, embedded: list[str]) -> None:
    """What a user saved counts. The quick look is enough where nothing is hidden."""
    api.save(KAFKA, {"bootstrap.servers": "kafka.example.com:9092", "client.id": 7})
    assert connections.kafka_config(SETTINGS) == {
        "bootstrap.servers": "kafka.example.com:9092",
        "client.id": "7",
    }
    assert embedded == []


def test_a_hidden_secret_is_asked_for(api: Api, embedded: list[str]) -> None:
    """The login of the DAGs is the command's as well."""
    login = {"bootstrap.servers": "kafka.example.com:9092", "sasl.password": "secret"}
    api.save(KAFKA, login)
    assert connections.kafka_config(SETTINGS) == login
    assert embedded == [KAFKA]


def test_an_api_that_does_not_answer_is_not_needed(
    api: Api, embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's code reads the database itself."""

    def refuse(*_: object) -> None:
        raise UnavailableError("no answer")

    api.save(KAFKA, {"bootstrap.servers": "kafka.example.com:9092"})
    monkeypatch.setattr(Airflow, "connected", refuse)
    assert connections.kafka_config(SETTINGS) == {"bootstrap.servers": "kafka.example.com:9092"}
    assert embedded == [KAFKA]


def test_without_a_connection_the_command_fails_as_the_dags_do(api: Api, embedded: list[str]) -> None:
    """The embedded broker would be another Kafka than theirs."""
    with pytest.raises(UsageError, check=Code.CONNECTION_MISSING.fits):
        connections.kafka_config(SETTINGS)
    api.save(KAFKA, {})
    with pytest.raises(UsageError, check=Code.CONNECTION_EMPTY.fits):
        connections.kafka_config(SETTINGS)
    assert embedded == []


@pytest.mark.usefixtures("embedded")
def test_what_the_environment_says_counts(api: Api, tmp_path: Path) -> None:
    """A file that is named, or a connection in it, as for the DAGs."""
    api.save(KAFKA, {"bootstrap.servers": "saved:1"})
    (tmp_path / "kafka.json").write_text('{"bootstrap.servers": "named:1"}')
    for name, value, servers in (
        ("HEADRACE_KAFKA", str(tmp_path / "kafka.json"), "named:1"),
        ("AIRFLOW_CONN_KAFKA_DEFAULT", '{"extra": {"bootstrap.servers": "set:1"}}', "set:1"),
    ):
        assert connections.kafka_config(Settings.from_environment({name: value})) == {
            "bootstrap.servers": servers
        }


def test_without_a_stack_it_is_the_embedded_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no DAG that would use another one."""
    monkeypatch.setattr(current, "environment", lambda _: {})
    monkeypatch.setattr(compose, "is_up", lambda _: False)
    assert connections.kafka_config(SETTINGS) == {"bootstrap.servers": "127.0.0.1:9092"}


@pytest.fixture
def containers(api: Api, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A compose stack that is up; the environment of its scheduler."""
    environment: dict[str, str] = {}

    def docker(*arguments: str) -> str:
        assert arguments[:4] == ("compose", "exec", "-T", "scheduler")
        match arguments[4:]:
            case ["printenv", name]:
                if name not in environment:
                    raise UnavailableError("exit code 1")
                return f"{environment[name]}\n"
            case ["python", "-m", "headrace.airflow.stored_connection", name]:
                return f"a line of Airflow's\n{json.dumps(api.held.get(name))}\n"
        raise AssertionError(arguments)

    shows(api, monkeypatch)
    monkeypatch.setattr(current, "environment", lambda _: {})
    monkeypatch.setattr(compose, "is_up", lambda _: True)
    monkeypatch.setattr(compose, "docker", docker)
    return environment


@pytest.mark.parametrize("login", [{}, {"sasl.password": "secret"}])
def test_from_the_host_the_listener_for_the_host_is_taken(
    api: Api, containers: dict[str, str], login: dict[str, str]
) -> None:
    """The one that the DAGs use leads nowhere from there; its login is the same."""
    assert containers == {}
    api.save(KAFKA, {"bootstrap.servers": compose.INTERNAL, **login})
    assert connections.kafka_config(SETTINGS) == {"bootstrap.servers": "127.0.0.1:9092", **login}


def test_another_kafka_is_the_same_from_the_host(api: Api, containers: dict[str, str]) -> None:
    """Saved in the UI, or set for the containers, which wins."""
    api.save(KAFKA, {"bootstrap.servers": "kafka.example.com:9092"})
    assert connections.kafka_config(SETTINGS) == {"bootstrap.servers": "kafka.example.com:9092"}
    containers["AIRFLOW_CONN_KAFKA_DEFAULT"] = '{"extra": {"bootstrap.servers": "set.example.com:9092"}}'
    assert connections.kafka_config(SETTINGS) == {"bootstrap.servers": "set.example.com:9092"}


ASKED = Settings.from_environment({"HEADRACE_KAFKA_CONNECTION": KAFKA})


@pytest.mark.parametrize("servers", ["kafka:29092", None])
def test_in_a_container_airflow_is_asked(
    servers: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By a process in the same environment, which finds what is set there, or nothing."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{tmp_path}/airflow.db")
    if servers:
        monkeypatch.setenv(
            "AIRFLOW_CONN_KAFKA_DEFAULT",
            json.dumps({"conn_type": "kafka", "extra": {"bootstrap.servers": servers, "sasl.password": "x"}}),
        )
        assert connections.kafka_config(ASKED) == {"bootstrap.servers": servers, "sasl.password": "x"}
    else:  # not even migrated: nothing can be said of it
        with pytest.raises(UnavailableError, check=Code.CONNECTION_UNREADABLE.fits):
            connections.kafka_config(ASKED)


def test_the_containers_connections_are_written_by_a_container(
    api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The connections that docker-compose.yml names, with Airflow's API as reached from there."""
    told = re.findall(
        r"^ +(KAFKA_DEFAULT|SPARK_DEFAULT): '(.*)'$", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE
    )
    assert [name for name, _ in told] == ["KAFKA_DEFAULT", "SPARK_DEFAULT"]
    for name, value in (*told, ("AIRFLOW_PASSWORD", "secret"), ("HEADRACE_HOME", str(tmp_path))):
        monkeypatch.setenv(name, value)

    @contextmanager
    def at(*where: str) -> Iterator[Airflow]:
        assert where == ("http://api-server:8080", "admin", "secret")
        yield api.airflow

    monkeypatch.setattr(Airflow, "at", at)
    connections.main()
    connections.main()
    assert api.written == [KAFKA, SPARK]
    assert api.found() == {"bootstrap.servers": compose.INTERNAL}
    assert (api.held[SPARK]["host"], api.held[SPARK]["port"]) == ("spark://spark-master", 7077)
