"""How Airflow reads the tasks' logs where its services share their folder, as they do in both stacks."""

from typing import Any

from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG
from airflow.utils.log.file_task_handler import FileTaskHandler


class SharedFolderHandler(FileTaskHandler):
    """Reads a log where it is.

    Airflow's own also asks the worker for that of a running task; no log server runs, and the refusal would
    be its first line.
    """

    def _read_from_logs_server(self, ti: Any, worker_log_rel_path: str) -> tuple[list[str], list[Any]]:
        """Nothing more than what is in the folder; of a task that runs, that may be nothing yet."""
        return (
            []
            if ti.state in {"running", "deferred"}
            else [f"There is no log at {self.local_base}/{worker_log_rel_path}."]
        ), []


_handlers = DEFAULT_LOGGING_CONFIG["handlers"]
CONFIG = {
    **DEFAULT_LOGGING_CONFIG,
    "handlers": {
        **_handlers,
        "task": {**_handlers["task"], "class": f"{__name__}.{SharedFolderHandler.__name__}"},
    },
}
"""Airflow's setting `logging_config_class`."""
