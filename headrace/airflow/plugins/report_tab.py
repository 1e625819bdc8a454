"""The tab "Report" on the page of a pipeline's DAG run."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from headrace.airflow import reasons

PREFIX = "/headrace"


async def pages(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Serve the tab's pages.

    Every task process loads the plugins: only the API server may pay for a web application.
    """
    from headrace.airflow.report_pages import application  # noqa: PLC0415

    await application()(scope, receive, send)


APPLICATIONS: list[Any] = [{"app": pages, "url_prefix": PREFIX, "name": "Headrace reports"}]

VIEWS: list[Any] = [
    {
        "name": "Report",
        "href": f"{PREFIX.removeprefix('/')}/reports/{{DAG_ID}}/{{RUN_ID}}",  # relative to the UI's base, wherever that is
        "destination": "dag_run",
        "url_route": "headrace_report",
    },
]


class ReportTab(AirflowPlugin):
    """Adds the tab, the pages it shows, and what keeps the reasons that they show."""

    name = "headrace_report"
    fastapi_apps = APPLICATIONS
    external_views = VIEWS
    listeners: list[Any] = [reasons]  # noqa: RUF012, as Airflow's own
