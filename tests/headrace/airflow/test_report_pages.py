"""The tab "Report": who may see it, and what it shows."""

import asyncio
import os
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute

from headrace import documents
from headrace.airflow.plugins.report_tab import ReportTab
from headrace.ledger.folder import Folder
from headrace.report.html import Task, TaskState, render
from headrace.text import in_lines
from tests.headrace.report.examples import HOSTILE, report
from tests.headrace.report.page import Page

with warnings.catch_warnings(action="ignore"):  # a library of Airflow's imports a deprecated test client
    from airflow.api_fastapi.core_api import security
    from airflow.models.dag import DagModel

    from headrace.airflow import report_pages
    from headrace.airflow.report_pages import page

RUN = "manual__2026-11-22T21:15:00+00:00"
INGEST_RUN = report().receipts[0].run


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A pipeline's folder with the report of one verify run."""
    folder = Folder(tmp_path / "important_messages")
    store(folder, RUN, 1)
    return folder


def store(folder: Folder, run: str, age: int, **fields: Any) -> None:
    """Put a report where verify puts it, `age` seconds before a fixed moment."""
    written = report(run=run, **fields)
    documents.write(folder.report(run) / "report.json", written)
    (folder.report(run) / "report.html").write_text(render(written), encoding="utf-8")
    os.utime(folder.report(run) / "report.json", (1_000_000 - age, 1_000_000 - age))


def publish(folder: Folder, micro_batch: int, run: str) -> None:
    """Put an entry there; of all that it says, only who published it matters here."""
    path = folder.published(folder.events, micro_batch)
    path.mkdir(parents=True)
    (path / "_entry.json").write_text(f'{{"schema": 1, "micro_batch": {micro_batch}, "run": "{run}"}}')


def task(name: str, state: TaskState, reason: str | None = None) -> Task:
    """The first try of a task."""
    return Task(
        name=name, state=state, try_number=1, reason=reason, log=f"/dags/d/runs/r/tasks/{name}?try_number=1"
    )


def show(
    folder: Folder, dag_id: str, run_id: str, tasks: Sequence[Task] = (), *, published: bool = False
) -> HTMLResponse:
    """What the tab shows while the run's tasks are these."""
    return page(folder.root.parent, dag_id, run_id, lambda: tasks, published=published)


def said(response: HTMLResponse) -> str:
    """Its text."""
    return Page(bytes(response.body).decode()).text


def test_failed_ingest_run_says_which_task_failed_why_and_what_to_do(folder: Folder) -> None:
    """The tab is where people look; the reason is the task's exception, and its log is a click away."""
    reason = in_lines(
        "Kafka at 127.0.0.1:9092 did not answer within 30 s. Start it, then clear the task. " * 2
    )
    shown = show(
        folder, "important_messages_ingest", "manual__x", [task("preflight", TaskState.FAILED, reason)]
    )
    text = said(shown)
    assert shown.status_code == 404
    assert text.startswith(
        "preflight failed preflight failed Kafka at 127.0.0.1:9092 did not answer within 30 s. Start it,"
    )
    assert "clear the task: the run goes on from there" in text
    assert Page(bytes(shown.body).decode()).tagged("a") == [
        {"href": "/dags/d/runs/r/tasks/preflight?try_number=1"}
    ]


def test_a_task_of_the_user_s_own_is_named_even_if_it_left_no_reason(folder: Folder) -> None:
    """One that was killed could leave none.

    Tasks that repeat its reason, and tasks that still run, are not named.
    """
    tasks = [
        task("export_from_shop", TaskState.FAILED),
        task("other", TaskState.FAILED, "full"),
        task("outcome", TaskState.FAILED, "full"),
        task("slow", TaskState.RUNNING),
    ]
    text = said(show(folder, "important_messages_ingest", "manual__x", tasks))
    assert "export_from_shop and other failed export_from_shop failed" in text
    assert "Why it failed is not known here; its log may say it." in text
    assert "outcome" not in text
    assert "slow" not in text


def test_a_thousand_failed_tasks_are_counted(folder: Folder) -> None:
    """A mapped task can fail that often."""
    failed = [task(f"a [{number}]", TaskState.FAILED, f"reason {number}") for number in range(1_000)]
    text = said(show(folder, "important_messages_ingest", "manual__x", failed))
    assert "a [3], a [4] and 995 more tasks failed" in text
    assert "reason 5" not in text


@pytest.mark.parametrize("suffix", ["ingest", "verify"])
@pytest.mark.parametrize(
    ("state", "words"),
    [
        (TaskState.RUNNING, "stream_to_parquet is running"),
        (TaskState.WAITING, "stream_to_parquet is about to start"),
        (TaskState.TRIED_AGAIN, "stream_to_parquet failed, and is about to be tried again no memory"),
    ],
)
def test_a_run_without_report_says_what_it_is_at(
    folder: Folder, suffix: str, state: TaskState, words: str
) -> None:
    """Also why a try failed that another one follows."""
    tasks = [task("stream_to_parquet", state, "no memory" if state is TaskState.TRIED_AGAIN else None)]
    assert f"No report yet {words}" in said(show(folder, f"important_messages_{suffix}", "manual__x", tasks))


def test_a_task_that_is_tried_again_links_to_the_log_of_the_try_before(folder: Folder) -> None:
    """That says why it failed."""
    again = replace(task("stream_to_parquet", TaskState.RUNNING), try_number=2, log_before="/before")
    page = Page(bytes(show(folder, "important_messages_ingest", "manual__x", [again]).body).decode())
    assert {"href": "/before"} in page.tagged("a")
    assert "Log of try 1" in page.text


def test_a_repair_says_what_it_is_at_or_where_to_look(folder: Folder) -> None:
    """It has no report of its own."""
    assert "ask waits for an answer" in said(
        show(folder, "headrace_repair", "manual__x", [task("ask", TaskState.ASKING)])
    )
    assert "No report yet" not in said(
        show(folder, "headrace_repair", "manual__x", [task("ask", TaskState.ASKING)])
    )
    failed = said(
        show(folder, "headrace_repair", "manual__x", [task("survey", TaskState.FAILED, "Reason is empty")])
    )
    assert "trigger a new run" in failed
    assert "clear the task" not in failed
    assert "survey failed Reason is empty" in said(
        show(folder, "headrace_repair", "manual__x", [task("survey", TaskState.FAILED, "Reason is empty")])
    )
    assert "Every later report of the pipeline names what was accepted" in said(
        show(folder, "headrace_repair", "manual__x")
    )


def test_a_failed_ingest_run_with_a_report_says_first_that_it_failed(folder: Folder) -> None:
    """What it published before it failed may be green.

    That is a click away, and all there is once the task has succeeded.
    """
    failed = [task("stream_to_parquet", TaskState.FAILED, "no memory")]
    first = show(folder, "important_messages_ingest", INGEST_RUN, failed)
    assert show(folder, "important_messages_ingest", INGEST_RUN).status_code == 200
    assert "stream_to_parquet failed no memory" in said(first)
    assert {"href": "?published=true"} in Page(bytes(first.body).decode()).tagged("a")
    assert show(folder, "important_messages_ingest", INGEST_RUN, failed, published=True).status_code == 200
    assert show(folder, "important_messages_verify", RUN, failed).status_code == 200


@pytest.mark.parametrize("value", [value for value in HOSTILE if value.strip()])
def test_what_an_exception_says_stays_text(folder: Folder, value: str) -> None:
    """It may quote a record."""
    shown = show(folder, "important_messages_ingest", "manual__x", [task(value, TaskState.FAILED, value)])
    assert not {"script", "img"} & {tag for tag, _ in Page(bytes(shown.body).decode()).tags}


def test_verify_run_shows_its_report(folder: Folder) -> None:
    """The tab of a verify run is that run's page, as it was written."""
    shown = show(folder, "important_messages_verify", RUN)
    assert shown.status_code == 200
    assert bytes(shown.body) == (folder.report(RUN) / "report.html").read_bytes()


def test_verify_run_without_report_says_so(folder: Folder) -> None:
    """A run that has not ended has a sentence instead of a page, never another run's report."""
    shown = show(folder, "important_messages_verify", "manual__other")
    assert shown.status_code == 404
    assert b"No report yet" in shown.body


def test_ingest_run_shows_the_newest_report_that_names_its_receipt(folder: Folder) -> None:
    """Of two reports that cover an ingest run the later one is shown.

    A newer one that does not is passed over.
    """
    store(folder, "manual__older", 9)
    store(folder, "manual__newer", 0, receipts=[], micro_batches=[])
    shown = show(folder, "important_messages_ingest", INGEST_RUN)
    assert bytes(shown.body) == (folder.report(RUN) / "report.html").read_bytes()


def test_ingest_run_without_receipt_is_found_by_its_micro_batches(folder: Folder) -> None:
    """A pipeline with producers of its own has no receipts: the entries say which run published what."""
    publish(folder, 0, "scheduled__mine")
    publish(folder, 1, "scheduled__next")
    assert show(folder, "important_messages_ingest", "scheduled__mine").status_code == 200
    assert show(folder, "important_messages_ingest", "scheduled__next").status_code == 404


def test_damaged_documents_do_not_hide_the_others(folder: Folder) -> None:
    """An older report or an entry that can't be read is passed over here; verify is red about it.

    The newest report is missed: it may have been red.
    """
    store(folder, "manual__damaged", 0)
    document = folder.report("manual__damaged") / "report.json"
    document.write_text("{")
    assert (
        "is the newest report" in bytes(show(folder, "important_messages_ingest", INGEST_RUN).body).decode()
    )
    os.utime(document, (0, 0))
    publish(folder, 0, "x")
    (folder.published(folder.events, 0) / "_entry.json").write_text("[]")
    assert show(folder, "important_messages_ingest", INGEST_RUN).status_code == 200


@pytest.mark.parametrize(
    ("dag_id", "run_id"),
    [
        ("important_messages_verify", "../../../secret"),
        ("important_messages_verify", ".."),
        ("important_messages_verify", "x" * 4_000),
        ("important_messages_verify", "\x00"),
        ("important_messages_verify", ""),
        ("../secret_verify", "x"),
        ("..", "x"),
        (".._verify", "reports"),
        ("_verify", "x"),
        ("other", "x"),
        ("~", "x"),
        ("", ""),
    ],
)
def test_no_name_leads_out_of_the_reports(folder: Folder, dag_id: str, run_id: str) -> None:
    """Whatever is asked for, only a report of the pipeline in the DAG id is served."""
    around = folder.root.parent.parent
    for place in (
        folder.reports,
        folder.root,
        folder.root / "secret",
        around / "secret" / "reports" / "x",
        around / "reports" / "reports",
    ):
        place.mkdir(parents=True, exist_ok=True)
        (place / "report.html").write_text("secret")
    shown = show(folder, dag_id, run_id)
    assert shown.status_code == 404
    assert bytes(shown.body).startswith(b"<!doctype html>")


def test_pages_can_neither_run_nor_load_anything(folder: Folder) -> None:
    """Report and notice alike come with a policy that allows inline style and nothing else."""
    for run in (RUN, "manual__other"):
        policy = show(folder, "important_messages_verify", run).headers["content-security-policy"]
        assert policy.startswith("sandbox; default-src 'none'; style-src 'unsafe-inline'")
        assert "frame-ancestors 'self'" in policy


@pytest.fixture
def application(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The web application over the folder."""
    monkeypatch.setenv("HEADRACE_DATA", str(folder.root.parent))
    report_pages.application.cache_clear()
    return report_pages.application()


def get(application: FastAPI, path: str) -> httpx.Response:
    """Ask the application without a socket."""

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(application), base_url="http://airflow.invalid"
        ) as client:
            return await client.get(path)

    return asyncio.run(ask())


class Manager:
    """An auth manager that lets its user read some of one DAG."""

    def __init__(self, dag_id: str, entities: Sequence[str] = ("RUN",)) -> None:
        self.dag_id = dag_id
        self.entities = entities

    def is_authorized_dag(self, *, method: str, access_entity: Any, details: Any, user: str) -> bool:
        """Whether the user may."""
        return (user, method, details.id) == (
            "somebody",
            "GET",
            self.dag_id,
        ) and access_entity.name in self.entities


def test_nobody_sees_a_report_without_login(application: FastAPI) -> None:
    """Without a login the answer is 401."""
    assert get(application, f"/reports/important_messages_verify/{RUN}").status_code == 401


@pytest.mark.parametrize(("allowed", "status"), [("important_messages_verify", 200), ("other_verify", 403)])
def test_only_readers_of_the_dag_see_its_reports(
    application: FastAPI, monkeypatch: pytest.MonkeyPatch, allowed: str, status: int
) -> None:
    """Who may not read the DAG's runs may not read their reports either."""
    application.dependency_overrides[security.get_user] = lambda: "somebody"
    monkeypatch.setattr(security, "get_auth_manager", lambda: Manager(allowed))
    monkeypatch.setattr(DagModel, "get_team_name", lambda _: None)
    assert (
        get(
            application, "/reports/important_messages_verify/manual__2026-11-22T21%3A15%3A00%2B00%3A00"
        ).status_code
        == status
    )


@pytest.mark.parametrize(("entities", "sees"), [(["RUN", "TASK_LOGS"], True), (["RUN"], False)])
def test_only_readers_of_logs_see_why_a_task_failed(
    application: FastAPI,
    monkeypatch: pytest.MonkeyPatch,
    entities: list[str],
    sees: bool,
) -> None:
    """The reason is from the task's log: a user without access to that sees the task's name only."""
    manager = Manager("important_messages_ingest", entities)
    application.dependency_overrides[security.get_user] = lambda: "somebody"
    for module in (security, report_pages):
        monkeypatch.setattr(module, "get_auth_manager", lambda: manager)
    monkeypatch.setattr(DagModel, "get_team_name", lambda _: None)
    monkeypatch.setattr(report_pages, "create_session", nullcontext)

    def tasks_of(_: object, dag_id: str, run_id: str, base: str, *, reasons: bool) -> list[Task]:
        assert (dag_id, run_id, base) == ("important_messages_ingest", "manual__x", "")
        return [task("preflight", TaskState.FAILED, "no memory" if reasons else None)]

    monkeypatch.setattr(report_pages, "tasks_of", tasks_of)
    shown = get(application, "/reports/important_messages_ingest/manual__x").text
    assert "preflight failed" in shown
    assert ("no memory" in shown) is sees


def test_every_route_asks_for_permission(application: FastAPI) -> None:
    """No route is open, the ones that come with the framework included."""
    for route in application.routes:
        assert isinstance(route, APIRoute)
        assert len(route.dependencies) == 1


def test_tab_is_on_the_run_page_and_leads_to_a_route() -> None:
    """The tab's address, with Airflow's placeholders filled in, is below the plugin's prefix."""
    (view,) = ReportTab.external_views
    (served,) = ReportTab.fastapi_apps
    assert view["destination"] == "dag_run"
    assert served["url_prefix"] == report_pages.PREFIX
    assert view["href"] == f"{served['url_prefix'].lstrip('/')}/reports/{{DAG_ID}}/{{RUN_ID}}"
