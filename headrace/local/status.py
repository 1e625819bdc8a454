"""What `headrace status` prints."""

from rich.table import Table

from headrace.local import compose
from headrace.local.client.console import Say
from headrace.local.client.login import login
from headrace.local.embedded import airflow, credentials, readiness, stack
from headrace.local.embedded.layout import Layout
from headrace.settings import Settings


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
    listens = {
        readiness.KAFKA: str(settings.kafka_port),
        airflow.API_SERVER: str(settings.ui_port),
        airflow.EXECUTION_API: str(airflow.execution_port(settings)),
    }
    table = Table("service", "state", "pid", "port", "since", box=None, padding=(0, 2, 0, 0))
    for service in now.services:
        state = (
            "not ready"
            if service.name in now.waiting and service.state == "RUNNING"
            else service.state.lower()
        )
        if now.is_frozen and service.name == readiness.KAFKA:
            state = "no answer"
        since = f"{service.since.astimezone():%Y-%m-%d %H:%M:%S}" if service.pid else ""
        table.add_row(service.name, state, str(service.pid or ""), listens.get(service.name, ""), since)
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
