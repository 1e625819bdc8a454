"""What `headrace status` prints."""

from datetime import datetime

import msgspec
from rich.table import Table

from headrace.local import compose
from headrace.local.client.console import Say
from headrace.local.client.login import login
from headrace.local.embedded import airflow, credentials, readiness, stack
from headrace.local.embedded.layout import Layout
from headrace.local.embedded.services import State
from headrace.settings import Settings


class Service(msgspec.Struct, frozen=True):
    """How one service does: in words, and since when."""

    name: str
    state: str
    port: int | None = None
    since: datetime | None = None


class Facts(msgspec.Struct, frozen=True):
    """What `headrace status --json` prints."""

    is_ready: bool
    stack: str | None
    """`embedded`, `compose`, `left behind` (processes without a supervisor), or null where none runs."""
    services: list[Service]
    airflow: str
    kafka: str


def facts(settings: Settings) -> Facts:
    """How the stack does, for a program."""
    now = stack.status(settings)
    if now.left_behind:
        return Facts(False, "left behind", [], settings.ui_url, settings.bootstrap_servers)
    if not now.services and compose.is_up(settings):
        found = compose.services()
        services = [Service(each["Service"], compose.state(each)) for each in found]
        ready = not compose.absent(found) and all(map(compose.is_well, found))
        return Facts(ready, "compose", services, settings.ui_url, settings.bootstrap_servers)
    ports = _ports(settings)
    services = [
        Service(each.name, _state(now, each), ports.get(each.name), each.since if each.pid else None)
        for each in now.services
    ]
    running = "embedded" if now.services else None
    return Facts(now.is_ready, running, services, settings.ui_url, settings.bootstrap_servers)


def _ports(settings: Settings) -> dict[str, int]:
    return {
        readiness.KAFKA: settings.kafka_port,
        airflow.API_SERVER: settings.ui_port,
        airflow.EXECUTION_API: airflow.execution_port(settings),
    }


def _state(now: stack.Status, service: State) -> str:
    if now.is_frozen and service.name == readiness.KAFKA:
        return "no answer"
    return (
        "not ready" if service.name in now.waiting and service.state == "RUNNING" else service.state.lower()
    )


def show(settings: Settings, say: Say) -> bool:
    """Print each service, the UI's address and where the login is; return whether all of it is ready."""
    now = stack.status(settings)
    if now.left_behind:
        say.line(
            f"The supervisor is gone and left {now.left_behind} processes behind; `{settings.make('up')}` starts again, `{settings.make('down')}` stops them."
        )
        return False
    if not now.services and compose.is_up(settings):
        return _show_containers(settings, say)
    if not now.services:
        say.line(
            f"The stack is not running; `{settings.make('up')}` starts it, or `make compose-up` the one in containers."
        )
        return False
    listens = _ports(settings)
    table = Table("service", "state", "pid", "port", "since", box=None, padding=(0, 2, 0, 0))
    for service in now.services:
        since = f"{service.since.astimezone():%Y-%m-%d %H:%M:%S}" if service.pid else ""
        port = str(listens.get(service.name, ""))
        table.add_row(service.name, _state(now, service), str(service.pid or ""), port, since)
    say.console.print(table)
    if now.is_frozen:
        say.line(stack.frozen(settings, now.services))
    for service in now.services:
        if service.restarted:
            say.line(f"{service.restarted}.")
    say.line(
        f"Airflow's UI: {settings.ui_url}, user {credentials.USER}, password in {Layout.of(settings).login}"
    )
    say.line(
        f"Kafka: {settings.bootstrap_servers}. Logs: {Layout.of(settings).log('*')}. Stop it all with `{settings.make('down')}`."
    )
    return now.is_ready


def _show_containers(settings: Settings, say: Say) -> bool:
    found, access = compose.services(), login(settings)
    table = Table("service", "state", "image", box=None, padding=(0, 2, 0, 0))
    for service in found:
        table.add_row(service["Service"], compose.state(service), service["Image"])
    say.console.print(table)
    say.line(f"Airflow's UI: {settings.ui_url}, user {access.user}, password in {access.where}")
    say.line(
        f"Kafka: {settings.bootstrap_servers}. Logs: docker compose logs. Stop it all with `{access.stopped_by}`."
    )
    missing = compose.absent(found)
    if missing:
        say.line(
            f"Without a container: {', '.join(missing)}. `docker compose up -d --wait` starts what is missing."
        )
    return bool(found) and not missing and all(map(compose.is_well, found))
