"""What `headrace status` prints."""

from rich.table import Table

from headrace.local import airflow, credentials, stack
from headrace.local.console import Say
from headrace.local.layout import Layout
from headrace.settings import Settings


def show(settings: Settings, say: Say) -> bool:
    """Print each service, the UI's address and where the login is; return whether all of it is ready."""
    now = stack.status(settings)
    if now.left_behind:
        say.line(f"The supervisor is gone and left {now.left_behind} processes behind; `make up` starts anew, `make down` stops them.")
        return False
    if not now.services:
        say.line("The stack is not running; `make up` starts it.")
        return False
    listens = {
        stack.KAFKA: str(settings.kafka_port),
        "api-server": str(settings.ui_port),
        airflow.EXECUTION_API: str(airflow.execution_port(settings)),
    }
    table = Table("service", "state", "pid", "port", "since", box=None, padding=(0, 2, 0, 0))
    for service in now.services:
        state = "not ready" if service.name in now.waiting and service.state == "RUNNING" else service.state.lower()
        since = f"{service.since.astimezone():%Y-%m-%d %H:%M:%S}" if service.pid else ""
        table.add_row(service.name, state, str(service.pid or ""), listens.get(service.name, ""), since)
    say.console.print(table)
    say.line(f"Airflow's UI: {settings.ui_url}, user {credentials.USER}, password in {Layout.of(settings).login}")
    say.line(f"Kafka: {settings.bootstrap_servers}. Logs: {Layout.of(settings).log('*')}. Stop it all with `make down`.")
    return now.is_ready
