"""The pages behind the tab "Report": a run's report, for those who may read that run."""

from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import msgspec
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse

from headrace.ledger.folder import ENTRY, Folder, micro_batch_of
from headrace.ledger.names import quoted
from headrace.report import html
from headrace.settings import Settings

INGEST = "_ingest"
VERIFY = "_verify"
PAGE = "report.html"
DOCUMENT = "report.json"
BY_HAND = "by_hand__"
"""How the names of the reports start that `headrace verify` writes."""

# Whatever a record smuggled into a page could neither run, nor load, nor send anything.
HEADERS = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}

PartT = TypeVar("PartT")


class Account(msgspec.Struct):
    """What of a receipt's account in a `report.json` is needed here."""

    run: str


class Published(msgspec.Struct):
    """What of a micro-batch in a `report.json` is needed here."""

    id: int


class Cover(msgspec.Struct):
    """What of a `report.json` tells which runs it covers; the rest is not decoded."""

    receipts: list[Account]
    micro_batches: list[Published]


class Origin(msgspec.Struct):
    """What of an entry tells who published it."""

    run: str


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
    if suffix == VERIFY:
        path = folder.report(run_id) / PAGE
        missing = "It is there as soon as the run's task `report` has ended."
    else:
        path = next(_covering(folder, run_id), folder.root) / PAGE
        missing = f"It is there as soon as a run of `{pipeline}{VERIFY}` has checked what this run published."
    try:
        return HTMLResponse(path.read_bytes(), headers=HEADERS)
    except FileNotFoundError:
        return _notice("No report yet", missing)
    except OSError as error:
        return _notice("The report cannot be read", f"`{path}`: {error.strerror}.")


def _pipeline(dag_id: str) -> tuple[str, str]:
    """Pipeline and suffix of a DAG id; both empty if it is no pipeline's."""
    return next(((dag_id.removesuffix(suffix), suffix) for suffix in (VERIFY, INGEST) if dag_id.endswith(suffix)), ("", ""))


def _covering(folder: Folder, run: str) -> Iterator[Path]:
    """Folders of the reports that account for an ingest run's receipt or micro-batches: those of verify's DAG first, newest first."""
    published = {
        micro_batch_of(path.parent) for path in folder.events.glob(f"*/{ENTRY}") if (origin := _decoded(path, Origin)) and origin.run == run
    }
    for path in sorted(folder.reports.glob(f"*/{DOCUMENT}"), key=_rank, reverse=True):
        cover = _decoded(path, Cover)
        if cover and (run in {receipt.run for receipt in cover.receipts} or published & {batch.id for batch in cover.micro_batches}):
            yield path.parent


def _rank(path: Path) -> tuple[bool, int]:
    """A check of everything by hand covers the run as well, but much else besides."""
    return not path.parent.name.startswith(BY_HAND), path.stat().st_mtime_ns


def _decoded(path: Path, kind: type[PartT]) -> PartT | None:
    """A part of a document; nothing if it is damaged, which verify reports better than this page could."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError:
        return None


def _notice(headline: str, text: str) -> HTMLResponse:
    return HTMLResponse(html.notice(headline, text), status_code=HTTPStatus.NOT_FOUND, headers=HEADERS)
