"""Print a connection as Airflow has it, secrets included, as JSON; `null` if there is none.

The REST API masks secrets.

python -m headrace.airflow.stored_connection kafka_default

It looks where a task's connection comes from: a secrets backend, the environment, the metadata database. For
a process of its own, in the environment of Airflow's services: importing what reads the database takes
seconds.
"""

import json
import os
import sys
from typing import Any

FIELDS = ("conn_type", "host", "port", "login", "password", "schema", "extra")


def read(name: str) -> dict[str, Any] | None:
    """Return the fields of a connection, under the names that the REST API gives them.

    Raises what the database does.
    """
    # Otherwise Airflow takes this for a task, which has no right to look into the database.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"

    from airflow.sdk import Connection  # noqa: PLC0415
    from airflow.sdk.exceptions import AirflowNotFoundException  # noqa: PLC0415
    from airflow.secrets.metastore import MetastoreBackend  # noqa: PLC0415

    found: Any
    try:
        found = Connection.get(name)
    except AirflowNotFoundException:
        # Airflow passes over a database that does not answer.
        found = MetastoreBackend().get_connection(name)
    return None if found is None else {field: getattr(found, field) for field in FIELDS}


if __name__ == "__main__":
    try:
        print(json.dumps(read(sys.argv[1])))  # noqa: T201  the last line is the answer
    except Exception as error:  # noqa: BLE001  the command says it in a line of its own
        sys.exit(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
