"""Commands from another shell are about the stack that runs."""

import os
from pathlib import Path

from headrace.local import current
from headrace.local.layout import Layout
from headrace.local.services import Supervisor
from headrace.settings import Settings


def test_what_the_environment_leaves_open_is_as_the_running_stack_has_it(tmp_path: Path) -> None:
    """What it says counts; once nothing runs there, the defaults do."""
    home = {"HEADRACE_HOME": str(tmp_path)}
    supervisor = Supervisor(Layout.of(Settings.from_environment(home)).services)
    supervisor.start(
        [], {**os.environ, "HEADRACE_UI_PORT": "18080", "HEADRACE_KAFKA_PORT": "19092", "HEADRACE_DATA": str(tmp_path / "data")}
    )
    try:
        found = current.settings({**home, "HEADRACE_KAFKA_PORT": "20092", "HEADRACE_DAGS": ""})
    finally:
        supervisor.stop()
    assert (found.ui_port, found.kafka_port, found.data) == (18080, 20092, tmp_path / "data")
    assert current.settings(home) == Settings.from_environment(home)
