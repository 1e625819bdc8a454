"""Airflow's REST API, as far as it is needed here."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from urllib.parse import quote

import httpx

from headrace.dag_names import REASON
from headrace.errors import UnavailableError
from headrace.settings import Settings

TIMEOUT = 30.0
"""Seconds for which a request is tried again: the supervisor restarts an api-server that died, SQLite can be
locked."""

UNFINISHED_TASK = frozenset(
    {
        None,
        "none",
        "scheduled",
        "queued",
        "running",
        "restarting",
        "up_for_retry",
        "up_for_reschedule",
        "deferred",
        "awaiting_input",
    }
)
UNFINISHED_RUN = frozenset({"queued", "running"})

FRAMING = frozenset({"Log message source details", "Pre Execute", "Post Execute"})
"""Groups in a task's log that Airflow writes around what the task says."""


@dataclass(frozen=True)
class Run:
    """A run of a DAG."""

    dag: str
    id: str
    state: str
    started: datetime | None
    ended: datetime | None

    @property
    def is_over(self) -> bool:
        """Say whether its state is final."""
        return self.state not in UNFINISHED_RUN

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        """Read it from the API's answer."""
        return cls(
            answer["dag_id"],
            answer["dag_run_id"],
            answer["state"],
            _time(answer["start_date"]),
            _time(answer["end_date"]),
        )


@dataclass(frozen=True)
class FileError:
    """Why a DAG file could not be read, and when that was."""

    file: str
    text: str
    at: datetime


@dataclass(frozen=True)
class Task:
    """A task of a run, in its latest try."""

    name: str
    state: str
    tries: int
    seconds: float | None

    @property
    def has_failed(self) -> bool:
        """Say whether it failed for good, by itself."""
        return self.state == "failed"

    @property
    def repeats_another(self) -> bool:
        """Say whether it is the last task of a DAG, which repeats the failed one's reason, or is skipped."""
        return self.name.rpartition(".")[2] == "outcome"

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        """Read it from the API's answer."""
        return cls(answer["task_id"], answer["state"] or "none", answer["try_number"], answer["duration"])


class Airflow:
    """The API of a running Airflow."""

    def __init__(self, client: httpx.Client, timeout: float = TIMEOUT) -> None:
        self._client = client
        self._timeout = timeout

    @classmethod
    @contextmanager
    def connected(cls, settings: Settings, timeout: float = TIMEOUT) -> Iterator[Self]:
        """Log in to the Airflow that is up."""
        from headrace.local.client.login import login  # noqa: PLC0415  what it needs of the embedded stack is in no container

        found = login(settings)
        with cls.at(settings.ui_url, found.user, found.password, timeout) as airflow:
            yield airflow

    @classmethod
    @contextmanager
    def at(cls, url: str, user: str, password: str, timeout: float = TIMEOUT) -> Iterator[Self]:
        """Log in at an address; a request is tried again for `timeout` seconds."""
        with httpx.Client(base_url=url, timeout=timeout, trust_env=False) as client:
            airflow = cls(client, timeout)
            answer = airflow.ask("POST", "/auth/token", {"username": user, "password": password})
            client.headers["Authorization"] = f"Bearer {answer['access_token']}"
            yield airflow

    def dag(self, dag: str) -> dict[str, Any] | None:
        """Return what Airflow knows of a DAG; nothing if it has not read its file yet."""
        answer = self._send("GET", f"/api/v2/dags/{dag}")
        return None if answer.status_code == httpx.codes.NOT_FOUND else self._content(answer)

    def connection(self, name: str) -> dict[str, Any] | None:
        """Return a connection, its secrets masked; nothing if the database has none of that name."""
        answer = self._send("GET", f"/api/v2/connections/{name}")
        return None if answer.status_code == httpx.codes.NOT_FOUND else self._content(answer)

    def add_connection(self, body: Mapping[str, Any]) -> None:
        """Make a connection.

        One of that name that is there is left as it is: an earlier try may have made it.
        """
        answer = self._send("POST", "/api/v2/connections", dict(body))
        if answer.status_code != httpx.codes.CONFLICT:
            self._content(answer)

    def import_errors(self) -> list[FileError]:
        """Return why DAG files could not be read."""
        answer = self.ask("GET", "/api/v2/importErrors")
        return [
            FileError(error["filename"], error["stack_trace"], datetime.fromisoformat(error["timestamp"]))
            for error in answer["import_errors"]
        ]

    def unpause(self, dag: str) -> None:
        """Let a DAG's runs start."""
        self.ask("PATCH", f"/api/v2/dags/{dag}?update_mask=is_paused", {"is_paused": False})

    def was_switched_off(self, dag: str) -> bool:
        """Whether a user switched a DAG off, by the latest change of it in the event log."""
        if not (self.dag(dag) or {}).get("is_paused"):
            return False
        changes = self.ask(
            "GET", f"/api/v2/eventLogs?dag_id={dag}&event=patch_dag&order_by=-event_log_id&limit=1"
        )["event_logs"]
        return bool(changes) and '"is_paused": true' in (changes[0]["extra"] or "").lower()

    def trigger(self, dag: str, run: str, conf: Mapping[str, Any]) -> None:
        """Start a run under an id of our own."""
        self.ask(
            "POST",
            f"/api/v2/dags/{dag}/dagRuns",
            {"dag_run_id": run, "logical_date": None, "conf": dict(conf)},
        )

    def run(self, dag: str, run: str) -> Run:
        """Return a run."""
        return Run.of(self.ask("GET", _path(dag, run)))

    def find_run(self, dag: str, run: str) -> Run | None:
        """Return a run; nothing if Airflow knows none of that name."""
        if run in {"", ".", ".."}:  # in an address they are no name
            return None
        answer = self._send("GET", _path(dag, run))
        return None if answer.status_code == httpx.codes.NOT_FOUND else Run.of(self._content(answer))

    def runs(self, dag: str) -> list[Run]:
        """Return the latest runs of a DAG, the oldest of them first."""
        answer = self.ask("GET", f"/api/v2/dags/{dag}/dagRuns?order_by=-run_after&limit=25")
        return [Run.of(one) for one in reversed(answer["dag_runs"])]

    def tasks(self, run: Run) -> list[Task]:
        """Return the tasks of a run, in the order in which they started."""
        answer = self.ask("GET", f"{_path(run.dag, run.id)}/taskInstances?limit=100")
        ordered = sorted(answer["task_instances"], key=lambda task: task["start_date"] or "9")
        return [Task.of(one) for one in ordered]

    def reason(self, run: Run, task: Task) -> str | None:
        """Return why the latest try of a task failed, if that is known.

        It is forgotten when the next try starts.
        """
        answer = self._send("GET", f"{_path(run.dag, run.id)}/taskInstances/{task.name}/xcomEntries/{REASON}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        value = self._content(answer)["value"]
        is_ours = isinstance(value, dict) and value.keys() >= {"try", "reason"}
        return str(value["reason"]) if is_ours and value["try"] == task.tries else None

    def log(self, run: Run, task: Task) -> list[str]:
        """Return what the task itself said in its latest try.

        Its lines and errors are there, Airflow's own folded groups are not.
        """
        answer = self.ask(
            "GET",
            f"{_path(run.dag, run.id)}/taskInstances/{task.name}/logs/{max(task.tries, 1)}?full_content=true",
        )
        lines: list[str] = []
        group = ""
        for message in answer["content"]:
            event = message if isinstance(message, str) else message["event"]
            if event.startswith("::group::"):
                group = event.removeprefix("::group::")
            elif event.startswith("::endgroup::"):
                group = ""
            elif group not in FRAMING:
                lines += event.splitlines()
                lines += [f"{error['exc_type']}: {error['exc_value']}" for error in _errors(message)]
        return lines

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Return the answer to a request. Raises `UnavailableError` if there is none, or it is a refusal."""
        return self._content(self._send(method, path, body))

    def _send(self, method: str, path: str, body: object = None) -> httpx.Response:
        deadline = time.monotonic() + self._timeout
        headers = {"Accept": "application/json"}
        while True:
            try:
                answer = self._client.request(method, path, json=body, headers=headers)
            except httpx.TransportError as error:
                trouble = f"{type(error).__name__}: {error}"
            else:
                if not answer.is_server_error:
                    return answer
                trouble = f"{answer.status_code} {answer.text[:200]}"
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"Airflow's API does not answer {method} {path} ({trouble}); `headrace status` shows what runs."
                )
            time.sleep(0.5)

    @staticmethod
    def _content(answer: httpx.Response) -> dict[str, Any]:
        if answer.is_error:
            request = f"{answer.request.method} {answer.request.url.path}"
            raise UnavailableError(
                f"Airflow's API refuses {request}: {answer.status_code} {answer.text[:500]}"
            )
        content: dict[str, Any] = answer.json() if answer.content else {}
        return content


def _errors(message: str | dict[str, Any]) -> list[dict[str, str]]:
    return [] if isinstance(message, str) else message.get("error_detail") or []


def _path(dag: str, run: str) -> str:
    return f"/api/v2/dags/{dag}/dagRuns/{quote(run, safe='')}"


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
