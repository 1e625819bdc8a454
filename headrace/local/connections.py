"""The two connections that DAGs run by: how a stack writes its own, and how the command reads what counts.

Airflow looks for a connection in its environment first and in its database then. So nothing of ours is in the
environment of Airflow's services: it would win over what a user saves under Admin → Connections. A stack
writes its connections over REST where they are absent, keeps a digest of them, and writes them again (a port
has changed) only while they are what it wrote.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import Code, HeadraceError, UnavailableError, UsageError
from headrace.local import compose
from headrace.local.client import current
from headrace.local.client.rest import Airflow
from headrace.local.embedded.credentials import USER
from headrace.local.embedded.layout import Layout
from headrace.local.install import files
from headrace.settings import CONNECTION, ROOT, Settings, kafka_extra

KAFKA = "kafka_default"
SPARK = "spark_default"

THEIRS = ""
"""Noted in place of a digest: the connection is the user's own, until it is deleted."""

MASK = "***"
"""What Airflow's API shows in place of a secret."""

API = "http://api-server:8080"
"""Airflow's API within the compose stack."""

QUICKLY = 3.0
"""Seconds for the API to show a connection; without it, Airflow's own code asks the database."""

DESCRIPTION = "Written by Headrace. It is kept up to date until you change it: then it is yours, and what you save counts."


class Connection(msgspec.Struct, frozen=True):
    """What a connection says, but for its name and description."""

    conn_type: str | None
    host: str | None = None
    port: int | None = None
    login: str | None = None
    password: str | None = None
    schema: str | None = None
    extra: dict[str, Any] = {}

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "Connection":
        """Read it from the API's answer, where the extra is text.

        A field that the UI's form leaves empty is none.
        """
        extra = msgspec.json.decode(answer["extra"] or "{}")
        return msgspec.convert(
            {**{name: value or None for name, value in answer.items()}, "extra": extra}, cls
        )

    @property
    def digest(self) -> str:
        """Tell two contents apart, and give neither away."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    @property
    def is_masked(self) -> bool:
        """Say whether something of it may be hidden."""
        return MASK in msgspec.json.encode(self).decode()

    def body(self, name: str) -> dict[str, Any]:
        """Return what the API takes."""
        fields = {**msgspec.to_builtins(self), "extra": msgspec.json.encode(self.extra).decode()}
        return {"connection_id": name, "description": DESCRIPTION, **fields}


def embedded(settings: Settings) -> dict[str, Connection]:
    """Return the connections of the embedded stack, by name."""
    return {
        KAFKA: Connection("kafka", extra={"bootstrap.servers": settings.bootstrap_servers}),
        SPARK: Connection(
            "spark", host="local[2]", extra={"spark-binary": "spark-submit", "deploy-mode": "client"}
        ),
    }


def are_kept(wanted: Mapping[str, Connection], note: Path) -> bool:
    """Say whether there is nothing to write, by the note of what was written last."""
    noted = _noted(note)
    return all(noted.get(name) in {THEIRS, connection.digest} for name, connection in wanted.items())


def keep(
    airflow: Airflow,
    wanted: Mapping[str, Connection],
    note: Path,
    exact: Callable[[str], Connection | None],
    say: Callable[[str], None],
) -> None:
    """Write the connections that are absent, and those that are still as they were written last.

    Args:
        note: Holds the digests of what was written.
        exact: Gives a connection with its secrets.
        say: Is called with what was written again.
    """
    noted = _noted(note)
    for name, connection in wanted.items():
        found = airflow.connection(name)
        before = noted.get(name, THEIRS)
        noted[name] = connection.digest
        if found is None:
            airflow.add_connection(connection.body(name))
        elif before == connection.digest:
            continue  # unchanged since it was written
        elif before != THEIRS and _is(before, Connection.of(found), partial(exact, name)):
            airflow.ask("PATCH", f"/api/v2/connections/{name}", connection.body(name))
            say(f"The connection {name} was as Headrace had written it, and is up to date again.")
        else:
            noted[name] = THEIRS
        files.write_private(note, msgspec.json.encode(noted).decode())


def kafka_config(settings: Settings) -> dict[str, str]:
    """Return how to reach Kafka: as the DAGs of the stack that is up do, unless the environment says how.

    Raises `UsageError` if the connection does not say how, `UnavailableError` if it can't be read.
    """
    if settings.kafka or settings.connection:
        return settings.kafka_config
    if settings.kafka_connection:
        return _config(settings.kafka_connection, stored(settings.kafka_connection, os.environ))
    if environment := current.environment(settings):
        # A secrets backend comes before the database, and the API does not know it.
        if environment.get("AIRFLOW__SECRETS__BACKEND"):
            return _config(KAFKA, stored(KAFKA, environment))
        return _config(KAFKA, _shown(settings, lambda: stored(KAFKA, environment)))
    if not compose.is_up(settings):
        return settings.kafka_config
    if text := compose.variable("scheduler", CONNECTION):
        config = replace(settings, connection=text).kafka_config
    else:
        config = _config(
            KAFKA,
            _shown(
                settings,
                lambda: _decode(compose.docker("compose", "exec", "-T", "scheduler", "python", *_ask(KAFKA))),
            ),
        )
    # The listener for containers leads nowhere from here.
    return config | (
        {"bootstrap.servers": settings.bootstrap_servers}
        if config["bootstrap.servers"] == compose.INTERNAL
        else {}
    )


def stored(name: str, environment: Mapping[str, str]) -> Connection | None:
    """Ask Airflow's own code, in a process of its own and in the environment of Airflow's services.

    The API hides secrets. It takes seconds.
    """
    done = subprocess.run(
        [sys.executable, *_ask(name)],
        env=dict(environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["it does not say why"]
        raise UnavailableError(
            f"Airflow can't read the connection {name} ({said[0]}). HEADRACE_KAFKA can name a file with Kafka's settings.",
            code=Code.CONNECTION_UNREADABLE,
        )
    return _decode(done.stdout)


def main() -> None:
    """Write the connections of the compose stack, which its environment names (KAFKA_DEFAULT …)."""
    wanted = {name: msgspec.json.decode(os.environ[name.upper()], type=Connection) for name in (KAFKA, SPARK)}
    note = Layout.of(Settings.from_environment()).connections
    with Airflow.at(API, USER, os.environ["AIRFLOW_PASSWORD"]) as airflow:
        keep(
            airflow,
            wanted,
            note,
            lambda name: stored(name, os.environ),
            lambda text: print(text, flush=True),  # noqa: T201
        )


def _shown(settings: Settings, exact: Callable[[], Connection | None]) -> Connection | None:
    """`kafka_default` as the API shows it, which is quick.

    Where it hides something or does not answer, the exact one.
    """
    try:
        with Airflow.connected(settings, QUICKLY) as airflow:
            found = airflow.connection(KAFKA)
    except UnavailableError:
        return exact()
    connection = None if found is None else Connection.of(found)
    return exact() if connection and connection.is_masked else connection


def _is(digest: str, shown: Connection, exact: Callable[[], Connection | None]) -> bool:
    found = exact() if shown.is_masked else shown
    return found is not None and found.digest == digest


def _config(name: str, connection: Connection | None) -> dict[str, str]:
    if connection is None:
        raise UsageError(
            f"There is no connection {name} in Airflow. Add it under Admin → Connections. On the embedded stack, `headrace up` writes it.",
            code=Code.CONNECTION_MISSING,
        )
    return kafka_extra(name, connection.extra)


def _ask(name: str) -> list[str]:
    return ["-m", "headrace.airflow.stored_connection", name]


def _decode(said: str) -> Connection | None:
    """What `stored_connection` printed last: Airflow may have logged something before."""
    answer = msgspec.json.decode(said.splitlines()[-1])
    return None if answer is None else Connection.of(answer)


def _noted(note: Path) -> dict[str, str]:
    return msgspec.json.decode(note.read_bytes(), type=dict[str, str]) if note.is_file() else {}


if __name__ == "__main__":
    try:
        main()
    except HeadraceError as error:
        sys.exit(str(error))
