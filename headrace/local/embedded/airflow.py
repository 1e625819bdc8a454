"""The environment in which the embedded Airflow, and all that it starts, runs."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from headrace.durations import written
from headrace.local.embedded import credentials, ports, shared_settings, spark
from headrace.local.embedded.layout import Layout
from headrace.settings import KEEP_LOGS, KEEP_RUNS, ROOT, Settings

API_SERVER = "api-server"
EXECUTION_API = "execution-api"
SCHEDULER = "scheduler"

SERVICES = {
    # Two processes: in one, the entry of a user's action in Airflow's log can wait for a write whose commit
    # waits for that entry in turn, until SQLite's timeout ends, when a task starts at the same moment.
    API_SERVER: ["api-server", "--apps", "core"],
    EXECUTION_API: ["api-server", "--apps", "execution"],
    # The log servers would listen on every interface; here each service can read the files themselves.
    SCHEDULER: ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
"""Airflow's services and how to start each."""

BEATING = frozenset(SERVICES) - {API_SERVER, EXECUTION_API}
"""The services that Airflow calls healthy by their heartbeat."""


def command(service: str, settings: Settings) -> list[str]:
    """Return the arguments of `airflow` that run a service in the foreground."""
    port = ["--port", str(execution_port(settings))] if service == EXECUTION_API else []
    return [*SERVICES[service], *port]


def execution_port(settings: Settings) -> int:
    """Return where tasks report to."""
    return settings.ui_port + 1


def environment(settings: Settings, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what to add to the inherited environment. Keys and password are made the first time."""
    layout = Layout.of(settings)
    return {
        **spark.environment(layout.spark_conf, layout.java_home, inherited),
        **shared_settings.airflow(),
        **_own(settings),
        **{f"AIRFLOW__{key.upper()}": value for key, value in _options(settings, layout).items()},
        "AIRFLOW_HOME": str(layout.airflow),
        # Airflow's parts talk to each other on this machine, whatever proxy there is to the world.
        "NO_PROXY": ",".join(
            filter(None, [inherited.get("NO_PROXY") or inherited.get("no_proxy"), ports.HOST, "localhost"])
        ),
        # Airflow's processes rename themselves; without this the new name overwrites the environment that
        # `stack` knows them by.
        "SPT_NOENV": "1",
    }


def database(layout: Layout) -> Path:
    """Return where Airflow's database is."""
    return layout.airflow / "airflow.db"


def _own(settings: Settings) -> dict[str, str]:
    own = {
        "HEADRACE_HOME": str(settings.home),
        "HEADRACE_DATA": str(settings.data),
        "HEADRACE_DAGS": str(settings.dags),
        "HEADRACE_KAFKA_PORT": str(settings.kafka_port),
        "HEADRACE_UI_PORT": str(settings.ui_port),
        KEEP_LOGS: written(settings.keep_logs),
        KEEP_RUNS: written(settings.keep_runs),
    }
    return own | ({"HEADRACE_JAVA_HOME": str(settings.java_home)} if settings.java_home else {})


def _options(settings: Settings, layout: Layout) -> dict[str, str]:
    keys = credentials.keys(layout.secrets)
    credentials.password(layout.login)
    bundle = {
        "name": "dags",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(settings.dags), "refresh_interval": 5},
    }
    return {
        "core__dags_folder": str(settings.dags),
        "core__plugins_folder": str(ROOT / "headrace" / "airflow" / "plugins"),
        "core__fernet_key": keys.fernet,
        "core__hostname_callable": "headrace.local.embedded.ports.host",
        "core__execution_api_server_url": f"http://{ports.HOST}:{execution_port(settings)}/execution/",
        "core__simple_auth_manager_passwords_file": str(layout.login),
        "api__host": ports.HOST,
        "api__port": str(settings.ui_port),
        "api__base_url": settings.ui_url,
        "api__secret_key": keys.api,
        "api_auth__jwt_secret": keys.jwt,
        # Services wait for each other's writes instead of failing.
        "database__sql_alchemy_conn": f"sqlite:///{database(layout)}?timeout=30",
        "dag_processor__dag_bundle_config_list": json.dumps([bundle]),
        "logging__base_log_folder": str(layout.airflow / "logs"),
    }
