"""The settings of the stack that is running.

A command from another shell is about that one, without naming its ports again.
"""

import os
from collections.abc import Mapping

from headrace.local.embedded.layout import Layout
from headrace.settings import CONNECTION, KEEP_LOGS, KEEP_RUNS, Settings

PORTS = ("HEADRACE_KAFKA_PORT", "HEADRACE_UI_PORT")
KEPT = (*PORTS, "HEADRACE_DATA", "HEADRACE_DAGS", "HEADRACE_JAVA_HOME", CONNECTION, KEEP_LOGS, KEEP_RUNS)
"""What a stack is started with, besides the state folder by which it is found."""


def settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the environment.

    What it leaves open is as the running stack has it, unless it names other ports: then it means another
    stack.

    Raises `UsageError` as `Settings` does.
    """
    asked = Settings.from_environment(environment)
    running = _environment(Layout.of(asked))
    said = {name: value for name, value in environment.items() if value}
    if any(name in said and said[name] != running.get(name) for name in PORTS):
        return asked
    return Settings.from_environment({**{name: running[name] for name in KEPT if name in running}, **said})


def environment(settings: Settings) -> Mapping[str, str]:
    """Return the environment of the stack that these settings are about; nothing if it does not run."""
    running = _environment(Layout.of(settings))
    ports = (str(settings.kafka_port), str(settings.ui_port))
    return running if tuple(map(running.get, PORTS)) == ports else {}


def _environment(layout: Layout) -> Mapping[str, str]:
    """The environment that the running stack was started with; nothing if none runs there."""
    if not layout.services.is_dir():
        return {}  # none was ever started there, as in a container, which has no supervisor installed either

    import psutil  # noqa: PLC0415

    from headrace.local.embedded.services import Supervisor  # noqa: PLC0415

    try:
        return Supervisor(layout.services).environment()
    except (OSError, psutil.Error):
        return {}
