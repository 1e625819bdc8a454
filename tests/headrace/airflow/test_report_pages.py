"""The tab "Report": who may see it, and what it shows."""

import asyncio
import os
import warnings
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from headrace import documents
from headrace.airflow.plugins.report_tab import ReportTab
from headrace.ledger.folder import Folder
from headrace.report.html import render
from tests.headrace.report.examples import report

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


def test_verify_run_shows_its_report(folder: Folder) -> None:
    """The tab of a verify run is that run's page, as it was written."""
    shown = page(folder.root.parent, "important_messages_verify", RUN)
    assert shown.status_code == 200
    assert bytes(shown.body) == (folder.report(RUN) / "report.html").read_bytes()


def test_verify_run_without_report_says_so(folder: Folder) -> None:
    """A run that has not ended has a sentence instead of a page, never another run's report."""
    shown = page(folder.root.parent, "important_messages_verify", "manual__other")
    assert shown.status_code == 404
    assert b"No report yet" in shown.body


def test_ingest_run_shows_the_newest_report_that_names_its_receipt(folder: Folder) -> None:
    """Of two reports that cover an ingest run the later one is shown; a newer one that does not is passed over."""
    store(folder, "manual__older", 9)
    store(folder, "manual__newer", 0, receipts=[], micro_batches=[])
    shown = page(folder.root.parent, "important_messages_ingest", INGEST_RUN)
    assert bytes(shown.body) == (folder.report(RUN) / "report.html").read_bytes()


def test_ingest_run_without_receipt_is_found_by_its_micro_batches(folder: Folder) -> None:
    """A pipeline with producers of its own has no receipts: the entries say which run published what."""
    publish(folder, 0, "scheduled__mine")
    publish(folder, 1, "scheduled__next")
    assert page(folder.root.parent, "important_messages_ingest", "scheduled__mine").status_code == 200
    assert page(folder.root.parent, "important_messages_ingest", "scheduled__next").status_code == 404


def test_damaged_documents_do_not_hide_the_others(folder: Folder) -> None:
    """A report or an entry that can't be read is passed over here; verify is red about it."""
    store(folder, "manual__damaged", 0)
    (folder.report("manual__damaged") / "report.json").write_text("{")
    publish(folder, 0, "x")
    (folder.published(folder.events, 0) / "_entry.json").write_text("[]")
    assert page(folder.root.parent, "important_messages_ingest", INGEST_RUN).status_code == 200


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
    for place in (folder.reports, folder.root, folder.root / "secret", around / "secret" / "reports" / "x", around / "reports" / "reports"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "report.html").write_text("secret")
    shown = page(folder.root.parent, dag_id, run_id)
    assert shown.status_code == 404
    assert bytes(shown.body).startswith(b"<!doctype html>")


def test_pages_can_neither_run_nor_load_anything(folder: Folder) -> None:
    """Report and notice alike come with a policy that allows inline style and nothing else."""
    for run in (RUN, "manual__other"):
        policy = page(folder.root.parent, "important_messages_verify", run).headers["content-security-policy"]
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
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://airflow.invalid") as client:
            return await client.get(path)

    return asyncio.run(ask())


class Manager:
    """An auth manager that lets its user read the runs of one DAG."""

    def __init__(self, dag_id: str) -> None:
        self.dag_id = dag_id

    def is_authorized_dag(self, *, method: str, access_entity: Any, details: Any, user: str) -> bool:
        """Whether the user may."""
        return (user, method, access_entity.name, details.id) == ("somebody", "GET", "RUN", self.dag_id)


def test_nobody_sees_a_report_without_login(application: FastAPI) -> None:
    """Without a login the answer is 401."""
    assert get(application, f"/reports/important_messages_verify/{RUN}").status_code == 401


@pytest.mark.parametrize(("allowed", "status"), [("important_messages_verify", 200), ("other_verify", 403)])
def test_only_readers_of_the_dag_see_its_reports(application: FastAPI, monkeypatch: pytest.MonkeyPatch, allowed: str, status: int) -> None:
    """Who may not read the DAG's runs may not read their reports either."""
    application.dependency_overrides[security.get_user] = lambda: "somebody"
    monkeypatch.setattr(security, "get_auth_manager", lambda: Manager(allowed))
    monkeypatch.setattr(DagModel, "get_team_name", lambda _: None)
    assert get(application, "/reports/important_messages_verify/manual__2026-11-22T21%3A15%3A00%2B00%3A00").status_code == status


def test_every_route_asks_for_permission(application: FastAPI) -> None:
    """No route is open, the ones that come with the framework included."""
    for route in application.routes:
        assert isinstance(route, APIRoute)
        assert len(route.dependencies) == 1


def test_tab_is_on_the_run_page_and_leads_to_a_route() -> None:
    """The tab's address, with Airflow's placeholders filled in, is below the prefix that the plugin serves."""
    (view,) = ReportTab.external_views
    (served,) = ReportTab.fastapi_apps
    assert view["destination"] == "dag_run"
    assert view["href"] == f"{served['url_prefix'].lstrip('/')}/reports/{{DAG_ID}}/{{RUN_ID}}"
