"""The environment, read once."""

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from headrace.durations import UNITS, seconds
from headrace.errors import Code, UsageError

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

HOME = ROOT / ".headrace"

CONNECTION = "AIRFLOW_CONN_KAFKA_DEFAULT"

HIGHEST_PORT = 65_000
"""Leaves room for the ports that follow the named one."""


KEEP_LOGS, KEEP_RUNS = "HEADRACE_KEEP_LOGS", "HEADRACE_KEEP_RUNS"
_KEPT = "30 days"
"""For how long, where the environment does not say."""


@dataclass(frozen=True)
class Settings:
    """Where Headrace keeps its things and on which ports of 127.0.0.1 it listens.

    Attributes:
        home: State of the embedded stack: broker log, Airflow's database, jars.
        data: Output: one folder per pipeline.
        dags: Pipeline files and DAG files.
        kafka_port: The broker's; the controller listens one port higher.
        ui_port: Airflow's UI and REST API. Tasks report to the port above; the log servers have the two after
            it.
        java_home: A Java (17, 21 or 25) to use instead of the pinned one.
        kafka: A JSON file with librdkafka settings of another cluster than the embedded stack's, with
            credentials.
        connection: Airflow's `kafka_default` as JSON, where the environment of Airflow's services holds it.
        kafka_connection: Name of a connection to ask Airflow for, where the environment is that of its
            services.
        keep_logs: For how long the stack keeps the logs of Airflow's tasks, in seconds.
        keep_runs: For how long it keeps what Airflow's database says of past runs, in seconds.
    """

    home: Path
    data: Path
    dags: Path
    kafka_port: int
    ui_port: int
    java_home: Path | None
    kafka: Path | None
    connection: str | None
    kafka_connection: str | None = None
    keep_logs: float = 30.0 * UNITS["day"]
    keep_runs: float = 30.0 * UNITS["day"]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read `HEADRACE_*`.

        Raises `UsageError` for a port that is not one, and a duration that is none, or too short.
        """
        java_home, kafka = environment.get("HEADRACE_JAVA_HOME"), environment.get("HEADRACE_KAFKA")
        return cls(
            home=Path(environment.get("HEADRACE_HOME") or HOME).absolute(),
            data=Path(environment.get("HEADRACE_DATA") or ROOT / "data").absolute(),
            dags=Path(environment.get("HEADRACE_DAGS") or ROOT / "dags").absolute(),
            kafka_port=_port(environment, "HEADRACE_KAFKA_PORT", 9092),
            ui_port=_port(environment, "HEADRACE_UI_PORT", 8080),
            java_home=Path(java_home).absolute() if java_home else None,
            kafka=Path(kafka).absolute() if kafka else None,
            connection=environment.get(CONNECTION),
            kafka_connection=environment.get("HEADRACE_KAFKA_CONNECTION") or None,
            keep_logs=_duration(environment, KEEP_LOGS),
            keep_runs=_duration(environment, KEEP_RUNS),
        )

    @property
    def bootstrap_servers(self) -> str:
        """Address of the embedded broker."""
        return f"127.0.0.1:{self.kafka_port}"

    @property
    def kafka_config(self) -> dict[str, str]:
        """How the environment says to reach Kafka, in librdkafka's words.

        Raises `UsageError` if what says so can't be used.
        """
        if self.kafka:
            return read_kafka_config(self.kafka)
        return (
            _of_connection(self.connection)
            if self.connection
            else {"bootstrap.servers": self.bootstrap_servers}
        )

    @property
    def ui_url(self) -> str:
        """Address of the embedded Airflow."""
        return f"http://127.0.0.1:{self.ui_port}"

    def make(self, target: str) -> str:
        """How to type a make command that is about this stack.

        With the state folder in front where it is not the usual one.
        """
        return (
            f"make {target}"
            if self.home == HOME
            else f"HEADRACE_HOME={shlex.quote(str(self.home))} make {target}"
        )


def read_kafka_config(path: Path) -> dict[str, str]:
    """Read librdkafka settings from a JSON file. Raises `UsageError` if it holds none."""
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read as JSON: {error}.") from error
    if not isinstance(config, dict) or not config.get("bootstrap.servers"):
        raise UsageError(
            f'{path} must hold an object with Kafka settings, such as {{"bootstrap.servers": "host:port"}}.'
        )
    return {str(key): str(value) for key, value in config.items()}


def kafka_extra(name: str, extra: Mapping[str, object]) -> dict[str, str]:
    """The librdkafka settings in a connection's extra. Raises `UsageError` if there are none."""
    if not extra.get("bootstrap.servers"):
        raise UsageError(
            f'The connection {name} names no broker. Its extra must hold {{"bootstrap.servers": "host:port"}}.',
            code=Code.CONNECTION_EMPTY,
        )
    return {key: str(value) for key, value in extra.items()}


def shown(path: Path) -> str:
    """A path as people see it.

    From the checkout on, if it lies there, since a container has the checkout elsewhere.
    """
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _of_connection(text: str) -> dict[str, str]:
    """The settings in a connection's extra, which Airflow takes as an object or as text that holds one."""
    try:
        extra = json.loads(text)["extra"]
        config = json.loads(extra) if isinstance(extra, str) else extra
        return {
            "bootstrap.servers": config["bootstrap.servers"],
            **{key: str(value) for key, value in config.items()},
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f'{CONNECTION} must be JSON with Kafka\'s settings in its extra: {{"extra": {{"bootstrap.servers": "host:port"}}}}.'
        ) from None


def _duration(environment: Mapping[str, str], name: str) -> float:
    """At least a day: a run with all of its tries can take that long, and must not lose its rows."""
    found = seconds(text := environment.get(name) or _KEPT)
    if found is None or found < UNITS["day"]:
        raise UsageError(
            f"{name} is {text!r}; it must be a number and a unit, such as '30 days', and at least '1 day'."
        )
    return found


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) <= HIGHEST_PORT:
        raise UsageError(f"{name} is {text!r}; it must be a port number from 1 to {HIGHEST_PORT}.")
    return int(text)
