"""The settings of the stack that is running: a command from another shell is about that one, without being told its ports again."""

import contextlib
import os
from collections.abc import Mapping

import psutil

from headrace.local.layout import Layout
from headrace.local.services import Supervisor
from headrace.settings import Settings

KEPT = ("HEADRACE_KAFKA_PORT", "HEADRACE_UI_PORT", "HEADRACE_DATA", "HEADRACE_DAGS", "HEADRACE_JAVA_HOME")
"""What a stack is started with, besides the state folder by which it is found."""


def settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the environment; what it leaves open is as the running stack has it, if there is one. Raises `MistakeError` as `Settings` does."""
    asked = Settings.from_environment(environment)
    running: Mapping[str, str] = {}
    with contextlib.suppress(OSError, psutil.Error):  # nothing runs there
        running = Supervisor(Layout.of(asked).services).environment()
    kept = {name: running[name] for name in KEPT if name in running}
    return Settings.from_environment({**kept, **{name: value for name, value in environment.items() if value}})
