"""The pages behind the tab "Report": a run's report, for those who may read that run."""

from collections.abc import Callable, Sequence
from functools import cache
from http import HTTPStatus
from pathlib import Path

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse

from headrace.airflow.run_tasks import tasks_of
from headrace.dag_names import INGEST, REPAIR, VERIFY
from headrace.errors import LedgerError
from headrace.ledger.folder import Folder
from headrace.ledger.names import quoted
from headrace.report import html
from headrace.settings import Settings
from headrace.text import listed, plural
from headrace.verify.stored import PAGE, Of, of_run

PREFIX = "/headrace"
"""Below which the plugin serves these pages."""

REMOVED = (
    "One that is older than the pipeline keeps its reports is removed ([retention], 30 days by default)."
)

REPAIRED = "The log of its last task says what it did, and what to run now. Every later report of the pipeline names what was accepted."

AGAIN = "When that is mended, trigger a new run."
MENDED = "When that is mended, clear the task: the run goes on from there. What was published before stays published."

MAX_TASKS = 5
"""That a page names: a mapped task may fail a thousand times."""

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
    def report(
        request: Request, user: GetUserDep, dag_id: str, run_id: str, *, published: bool = False
    ) -> HTMLResponse:
        base = request.scope.get("root_path", "").removesuffix(PREFIX)

        def look() -> list[html.Task]:
            with create_session() as session:
                return tasks_of(session, dag_id, run_id, base, reasons=_may_read_logs(dag_id, user))

        return page(data, dag_id, run_id, look, published=published)

    return pages


def _may_read_logs(dag_id: str, user: BaseUser) -> bool:
    """Whether a user may see why a task failed: that is from its log."""
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return get_auth_manager().is_authorized_dag(
        method="GET", access_entity=DagAccessEntity.TASK_LOGS, details=details, user=user
    )


def page(
    data: Path, dag_id: str, run_id: str, look: Callable[[], Sequence[html.Task]], *, published: bool = False
) -> HTMLResponse:
    """The report of a verify run, or the newest that covers an ingest run.

    If there is none, the page says what the run is at, or why there is none.

    An ingest run that failed may have published something before: what failed comes first.

    Args:
        look: Gives the tasks that failed, run or are about to.
        published: Whether to show the report even if a task of the ingest run failed.
    """
    if dag_id == REPAIR:
        tasks = look() if run_id else []
        return (
            _tasks(tasks, AGAIN, "A repair has no report")
            if tasks
            else _notice("A repair has no report", REPAIRED)
        )
    pipeline, suffix = _pipeline(dag_id)
    if not pipeline or not run_id:
        return _notice(
            "No report", f"`{dag_id}` is not a DAG of a Headrace pipeline; only those have reports."
        )
    folder = Folder(data / quoted(pipeline))
    path = folder.report(run_id) / PAGE
    if suffix == VERIFY:
        missing = "It is there as soon as the run's task `report` has ended."
    else:
        missing = f"It is there as soon as a run of `{pipeline}{VERIFY}` has checked what this run published."
    try:
        document = of_run(folder, run_id, Of.VERIFY if suffix == VERIFY else Of.INGEST)
        path = document.with_name(PAGE) if document else path
        if suffix == INGEST and path.exists() and not published:
            failed = [task for task in look() if task.state is html.TaskState.FAILED]
            if failed:
                return _tasks(failed, report="?published=true")
        return HTMLResponse(path.read_bytes(), headers=HEADERS)
    except FileNotFoundError:
        tasks = look()
        return _tasks(tasks) if tasks else _notice("No report yet", f"{missing} {REMOVED}")
    except (LedgerError, OSError) as error:
        why = f"`{path}`: {error.strerror}." if isinstance(error, OSError) else str(error)
        return _notice("The report cannot be read", why)


def _pipeline(dag_id: str) -> tuple[str, str]:
    """Pipeline and suffix of a DAG id; both empty if it is no pipeline's."""
    return next(
        ((dag_id.removesuffix(suffix), suffix) for suffix in (VERIFY, INGEST) if dag_id.endswith(suffix)),
        ("", ""),
    )


def _tasks(
    tasks: Sequence[html.Task], mended: str = MENDED, otherwise: str = "No report yet", report: str = ""
) -> HTMLResponse:
    """What a run without a report is at: failed tasks first, and only once what several of them say.

    Args:
        mended: What to do when that is mended.
        otherwise: The headline if none failed.
    """
    failed = [task for task in tasks if task.state is html.TaskState.FAILED]
    # `outcome` repeats another's reason.
    failed = [task for task in failed if task.name.rpartition(".")[2] != "outcome"] or failed
    if failed:
        reasons = [task.reason for task in failed]
        shown = [
            task
            for index, task in enumerate(failed)
            if task.reason is None or task.reason not in reasons[:index]
        ]
        more = [plural(len(shown) - MAX_TASKS, "more task")] if len(shown) > MAX_TASKS else []
        headline = f"{listed([*(task.name for task in shown[:MAX_TASKS]), *more])} failed"
        text = mended
    else:
        shown, headline, text = list(tasks), otherwise, ""
    return _respond(html.notice(headline, text, shown[:MAX_TASKS], report))


def _notice(headline: str, text: str) -> HTMLResponse:
    return _respond(html.notice(headline, text))


def _respond(content: str) -> HTMLResponse:
    return HTMLResponse(content, status_code=HTTPStatus.NOT_FOUND, headers=HEADERS)
