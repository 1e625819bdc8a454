"""How to log in to Airflow.

That is the compose stack's where that is up, and otherwise the embedded one's.
"""

from dataclasses import dataclass

from headrace.local import compose
from headrace.local.embedded import credentials
from headrace.local.embedded.layout import Layout
from headrace.local.embedded.services import Supervisor
from headrace.settings import Settings


@dataclass(frozen=True)
class Login:
    """User, password, where the password stands, and how the stack is stopped."""

    user: str
    password: str
    where: str
    stopped_by: str


def login(settings: Settings) -> Login:
    """Return the login of the stack that serves the UI's port."""
    layout = Layout.of(settings)
    if not Supervisor(layout.services).is_running() and compose.is_up(settings):
        password = compose.secrets().get("AIRFLOW_PASSWORD", "")
        return Login(credentials.USER, password, f"{compose.ENV} (AIRFLOW_PASSWORD)", "docker compose down")
    return Login(
        credentials.USER, credentials.password(layout.login), str(layout.login), settings.make("down")
    )
