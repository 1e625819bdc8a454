"""The compose stack under test: a copy of the checkout with ports, secrets and data of its own."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace import documents
from headrace.ledger.folder import Folder
from headrace.local.client.rest import Airflow, Run
from headrace.settings import ROOT
from headrace.verify.result import Report
from headrace.verify.stored import find

PROJECT = "headrace-test"
LABEL = f"label=com.docker.compose.project={PROJECT}"
IMAGES = {"HEADRACE_AIRFLOW_IMAGE": f"{PROJECT}/airflow:1"}
"""An image of their own, so that that of the user's stack stays as it is."""
SOMEBODY = 12345
"""Who calls sudo, where root runs the tests: a user whom no image knows, as is that of most people."""
TIMEOUT = 420.0
"""Seconds for a run, its retries included; most take half a minute."""


@dataclass
class Stack:
    """A copy of the checkout, and what docker compose makes of it."""

    root: Path
    environment: dict[str, str]
    overrides: list[str] = field(default_factory=list)

    @classmethod
    def copied(cls, root: Path, ports: Mapping[str, int]) -> "Stack":
        """Copy what git knows or would add, for its owner only, as with umask 077, and without schedules.

        A tick would be one run more.
        """
        names = subprocess.run(
            ["git", "ls-files", "-coz", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\0")
        for name in filter(None, names):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, root / name)
        for path in root.glob("dags/*.toml"):
            path.write_text(re.sub(r"^schedule .*\n", "", path.read_text(), flags=re.MULTILINE))
        owner = int(os.environ.get("SUDO_UID") or 0) or SOMEBODY if os.geteuid() == 0 else os.geteuid()
        for path in (root, *root.rglob("*")):
            path.chmod(path.stat().st_mode & 0o700)
            os.chown(path, owner, -1)
        own = {
            **{name: str(port) for name, port in ports.items()},
            **IMAGES,
            "COMPOSE_PROJECT_NAME": PROJECT,
            "SUDO_UID": str(owner),
            "HEADRACE_DATA": str(root / "data"),
            "HEADRACE_HOME": str(root / ".headrace"),
            "PYTHONPATH": str(root),
        }
        return cls(root, {**os.environ, **own})

    @property
    def ui(self) -> str:
        """Airflow's address."""
        return f"http://127.0.0.1:{self.environment['HEADRACE_UI_PORT']}"

    @property
    def external(self) -> str:
        """Kafka's address for the host."""
        return f"127.0.0.1:{self.environment['HEADRACE_KAFKA_PORT']}"

    @property
    def secrets(self) -> dict[str, str]:
        """What .env holds."""
        lines = (self.root / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    def folder(self, pipeline: str = "important_messages") -> Folder:
        """A pipeline's folder, as the host sees it."""
        return Folder(self.root / "data" / pipeline)

    def docker(self, *arguments: str, check: bool = True, more: Mapping[str, str] | None = None) -> str:
        """Run a docker command in the copy; returns all that it prints."""
        done = subprocess.run(
            ["docker", *arguments],
            cwd=self.root,
            env={**self.environment, **(more or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0 or not check, f"docker {' '.join(arguments)}:\n{done.stdout[-3000:]}"
        return done.stdout

    def compose(self, *arguments: str, check: bool = True, more: Mapping[str, str] | None = None) -> str:
        """Run docker compose on the copy's own files."""
        files = [part for name in ("docker-compose.yml", *self.overrides) for part in ("-f", name)]
        return self.docker("compose", *files, *arguments, check=check, more=more)

    def up(self, *arguments: str, more: Mapping[str, str] | None = None) -> None:
        """Start what does not run, and wait until all of it is healthy."""
        self.compose("up", "--detach", "--wait", *arguments, more=more)

    def headrace(self, *arguments: str, check: bool = True) -> str:
        """Run the copy's `headrace` on the host, as a user would."""
        return finished(self.started(*arguments), check=check)

    def started(self, *arguments: str, more: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start the copy's `headrace`."""
        command = [sys.executable, "-m", "headrace.cli", *arguments]
        environment = {**self.environment, **(more or {})}
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ingesting(self, pipeline: str = "important_messages", **params: object) -> subprocess.Popen[str]:
        """Start a pipeline's run, and follow it to its report."""
        options = [part for name, value in params.items() for part in (f"--{name}", str(value))]
        return self.started("run", pipeline, *options, "--wait")

    def ingested(self, process: subprocess.Popen[str], pipeline: str = "important_messages") -> Report:
        """The green report of a run that was started."""
        said = finished(process)
        assert "Green: " in said
        return self.report(run_in(said), pipeline)

    def ingest(self, pipeline: str = "important_messages", **params: object) -> Report:
        """Run a pipeline to its green report."""
        return self.ingested(self.ingesting(pipeline, **params), pipeline)

    def user(self, service: str) -> tuple[str, str]:
        """A container's user: id and name, as the container itself knows them."""
        number, _, name = (
            self.compose("exec", "-T", service, "sh", "-c", 'echo "$(id -u) $(getent passwd $(id -u))"')
            .strip()
            .partition(" ")
        )
        return number, name.partition(":")[0]

    def containers(self) -> list[str]:
        """Ids of all containers, also of those that have ended."""
        return self.docker("ps", "--all", "--quiet", "--filter", LABEL).split()

    def volumes(self) -> set[str]:
        """Names of all volumes that containers use."""
        shape = '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}'
        return set(self.docker("inspect", "--format", shape, *self.containers()).split())

    def report(self, run: str, pipeline: str = "important_messages") -> Report:
        """The newest report that covers an ingest run."""
        path, report = find(self.folder(pipeline), run)
        return documents.read(path, type(report))

    @contextmanager
    def airflow(self) -> Iterator[Airflow]:
        """Airflow's API."""
        with Airflow.at(self.ui, "admin", self.secrets["AIRFLOW_PASSWORD"]) as airflow:
            yield airflow

    def json(self, service: str, url: str, index: int = 1) -> Any:
        """What a page of Spark's says, asked for within a container."""
        code = f"from urllib.request import urlopen; print(urlopen({url!r}, timeout=20).read().decode())"
        return json.loads(self.compose("exec", "-T", "--index", str(index), service, "python3", "-c", code))

    def cluster(self) -> Any:
        """What the Spark master says of its workers and applications."""
        return self.json("spark-master", "http://spark-master:8080/json/")

    def executors(self, application: str, workers: int = 1) -> list[int]:
        """How many executors of an application run on each worker now."""
        told = [
            self.json("spark-worker", "http://localhost:8081/json/", index + 1) for index in range(workers)
        ]
        return [sum(executor["appid"] == application for executor in worker["executors"]) for worker in told]

    def was_served(self, name: str) -> bool:
        """Whether the one worker ran executors of an application that has ended.

        Not how many: one that ends before the master has heard of the application's end is replaced for a
        moment.
        """
        (application,) = [each["id"] for each in self.cluster()["completedapps"] if each["name"] == name]
        finished = self.json("spark-worker", "http://localhost:8081/json/")["finishedexecutors"]
        return any(executor["appid"] == application for executor in finished)


def run_in(said: str) -> str:
    """The run id that `headrace run` printed."""
    found = re.search(r"Started \w+, run (\S+)\.\n", said)
    assert found, said
    return found[1]


def finished(process: subprocess.Popen[str], *, check: bool = True) -> str:
    """What a `headrace` says by its end."""
    said, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0 or not check, (
        f"{process.args!r} exits {process.returncode}:\n{said[-4000:]}"
    )
    return said


def free_ports(number: int, following: int = 0) -> list[int]:
    """Ports of 127.0.0.1, all of them different, that are free, as are so many after each."""
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < number:
            first = int(held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1])
            try:
                for port in range(first + 1, first + 1 + following):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            found.append(first)
    return found


def wait_until(what: str, holds: Callable[[], bool], timeout: float = TIMEOUT) -> None:
    """Wait for something, with an end."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.5)


def ended(airflow: Airflow, run: Run) -> Run:
    """A run in its final state."""
    wait_until(f"{run.dag} {run.id} ends", lambda: airflow.run(run.dag, run.id).is_over)
    return airflow.run(run.dag, run.id)
