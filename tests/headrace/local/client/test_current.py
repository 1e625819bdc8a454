"""Commands from another shell are about the stack that runs."""

import os
import subprocess
import sys
from pathlib import Path

from headrace.local.client import current
from headrace.local.embedded.layout import Layout
from headrace.local.embedded.services import Supervisor
from headrace.settings import CONNECTION, Settings


def test_what_the_environment_leaves_open_is_as_the_running_stack_has_it(tmp_path: Path) -> None:
    """What it says counts; once nothing runs there, or other ports are named, the defaults do."""
    home = {"HEADRACE_HOME": str(tmp_path)}
    supervisor = Supervisor(Layout.of(Settings.from_environment(home)).services)
    supervisor.start(
        [],
        {
            **os.environ,
            "HEADRACE_UI_PORT": "18080",
            "HEADRACE_KAFKA_PORT": "19092",
            "HEADRACE_DATA": str(tmp_path / "data"),
            CONNECTION: "set when it was started",
        },
    )
    try:
        found = current.settings({**home, "HEADRACE_UI_PORT": "", "HEADRACE_DAGS": "/dags"})
        another = current.settings({**home, "HEADRACE_UI_PORT": "8080"})
        environments = [current.environment(each) for each in (found, another)]
    finally:
        supervisor.stop()
    assert (found.ui_port, found.kafka_port, found.data, found.dags) == (
        18080,
        19092,
        tmp_path / "data",
        Path("/dags"),
    )
    assert another == Settings.from_environment({**home, "HEADRACE_UI_PORT": "8080"}), (
        "other ports mean another stack, with folders of its own"
    )
    assert current.settings(home) == Settings.from_environment(home)
    assert [each.get("HEADRACE_UI_PORT") for each in environments] == ["18080", None]
    assert (found.connection, another.connection) == ("set when it was started", None)


def test_where_no_supervisor_is_installed_the_environment_is_all_there_is(tmp_path: Path) -> None:
    """In a container the verbs run without the packages of the embedded stack."""
    code = """
import sys
sys.modules["supervisor"] = None
from headrace.cli.arguments import kafka_config, load
print(load("important_messages")[0].name, kafka_config(None))
"""
    environment = {
        **os.environ,
        "HEADRACE_HOME": str(tmp_path / "none"),
        "HEADRACE_KAFKA_PORT": "19092",
        "HEADRACE_UI_PORT": "18080",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "important_messages {'bootstrap.servers': '127.0.0.1:19092'}\n", done.stderr
