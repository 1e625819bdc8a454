"""The environment, read once."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from headrace.errors import MistakeError

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

HIGHEST_PORT = 65_000
"""Leaves room for the ports that follow the named one."""


@dataclass(frozen=True)
class Settings:
    """Where Headrace keeps its things and on which ports of 127.0.0.1 it listens.

    home       state of the embedded stack: broker log, Airflow's database, jars
    data       output: one folder per pipeline
    dags       pipeline files and DAG files
    kafka_port broker; the controller listens one port higher
    ui_port    Airflow's UI and REST API; tasks report to the port above, the log servers have the two above that
    java_home  a Java (17, 21 or 25) to use instead of the pinned one
    kafka      librdkafka settings of another cluster than the embedded stack's, credentials included
    """

    home: Path
    data: Path
    dags: Path
    kafka_port: int
    ui_port: int
    java_home: Path | None
    kafka: Mapping[str, str] | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read `HEADRACE_*`. Raises `MistakeError` for a port that is not one."""
        java_home = environment.get("HEADRACE_JAVA_HOME")
        return cls(
            home=Path(environment.get("HEADRACE_HOME") or ROOT / ".headrace").absolute(),
            data=Path(environment.get("HEADRACE_DATA") or ROOT / "data").absolute(),
            dags=Path(environment.get("HEADRACE_DAGS") or ROOT / "dags").absolute(),
            kafka_port=_port(environment, "HEADRACE_KAFKA_PORT", 9092),
            ui_port=_port(environment, "HEADRACE_UI_PORT", 8080),
            java_home=Path(java_home).absolute() if java_home else None,
            kafka=_kafka(environment),
        )

    @property
    def bootstrap_servers(self) -> str:
        """Address of the embedded broker."""
        return f"127.0.0.1:{self.kafka_port}"

    @property
    def kafka_config(self) -> dict[str, str]:
        """How to reach Kafka from here."""
        return dict(self.kafka or {"bootstrap.servers": self.bootstrap_servers})

    @property
    def ui_url(self) -> str:
        """Address of the embedded Airflow."""
        return f"http://127.0.0.1:{self.ui_port}"


def read_kafka_config(path: Path) -> dict[str, str]:
    """Read librdkafka settings from a JSON file. Raises `MistakeError` if it holds none."""
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise MistakeError(f"{path} can't be read as JSON: {error}.") from error
    if not isinstance(config, dict) or not config.get("bootstrap.servers"):
        raise MistakeError(f'{path} must hold an object with Kafka settings, such as {{"bootstrap.servers": "host:port"}}.')
    return {str(key): str(value) for key, value in config.items()}


def shown(path: Path) -> str:
    """A path as people see it: from the checkout on, if it lies there, since a container has the checkout elsewhere."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _kafka(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Settings in the file that HEADRACE_KAFKA names, or, in the environment of Airflow's services, those of the connection."""
    if path := environment.get("HEADRACE_KAFKA"):
        return read_kafka_config(Path(path))
    connection = json.loads(environment.get("AIRFLOW_CONN_KAFKA_DEFAULT") or "{}")
    return {key: str(value) for key, value in connection.get("extra", {}).items()} or None


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) <= HIGHEST_PORT:
        raise MistakeError(f"{name} is {text!r}; it must be a port number from 1 to {HIGHEST_PORT}.")
    return int(text)
