"""The pages behind the tab "Report": a run's report, for those who may read that run."""

from functools import cache
from http import HTTPStatus
from pathlib import Path

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse

from headrace.ledger.folder import Folder
from headrace.ledger.names import quoted
from headrace.report import html
from headrace.report.stored import PAGE, Of, of_run
from headrace.settings import Settings

INGEST = "_ingest"
VERIFY = "_verify"

# Whatever a record smuggled into a page could neither run, nor load, nor send anything.
HEADERS = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}


@cache
def application() -> FastAPI:
    """The web application. Every route is only for users who may read the runs of the DAG in its path."""
    data = Settings.from_environment().data
    pages = FastAPI(title="Headrace reports", docs_url=None, redoc_url=None, openapi_url=None)
    may_read_run = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.RUN))

    @pages.get("/reports/{dag_id}/{run_id:path}", dependencies=[may_read_run], response_class=HTMLResponse)
    def report(dag_id: str, run_id: str) -> HTMLResponse:
        return page(data, dag_id, run_id)

    return pages


def page(data: Path, dag_id: str, run_id: str) -> HTMLResponse:
    """The report of a verify run, or the newest that covers an ingest run, or a sentence that says why there is none."""
    pipeline, suffix = _pipeline(dag_id)
    if not pipeline or not run_id:
        return _notice("No report", f"`{dag_id}` is not a DAG of a Headrace pipeline; only those have reports.")
    folder = Folder(data / quoted(pipeline))
    path = folder.report(run_id) / PAGE
    if suffix == VERIFY:
        missing = "It is there as soon as the run's task `report` has ended."
    else:
        missing = f"It is there as soon as a run of `{pipeline}{VERIFY}` has checked what this run published."
    try:
        if document := of_run(folder, run_id, Of.VERIFY if suffix == VERIFY else Of.INGEST):
            path = document.with_name(PAGE)
        return HTMLResponse(path.read_bytes(), headers=HEADERS)
    except FileNotFoundError:
        return _notice(
            "No report yet",
            f"{missing} One that is older than the pipeline keeps its reports is removed ([retention], 30 days by default).",
        )
    except OSError as error:
        return _notice("The report cannot be read", f"`{path}`: {error.strerror}.")


def _pipeline(dag_id: str) -> tuple[str, str]:
    """Pipeline and suffix of a DAG id; both empty if it is no pipeline's."""
    return next(((dag_id.removesuffix(suffix), suffix) for suffix in (VERIFY, INGEST) if dag_id.endswith(suffix)), ("", ""))


def _notice(headline: str, text: str) -> HTMLResponse:
    return HTMLResponse(html.notice(headline, text), status_code=HTTPStatus.NOT_FOUND, headers=HEADERS)
