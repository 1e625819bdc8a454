"""Airflow's REST API, as far as an answer needs reading."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from headrace.local.client.rest import Airflow, Run, Task

RUN = Run("tiny_ingest", "by hand: 1", "running", datetime(2026, 11, 22, 12, tzinfo=UTC), None)
TASK = Task("stream_to_parquet", "up_for_retry", 2, 1.5)


@pytest.mark.parametrize(
    ("status", "content", "reason"),
    [
        (200, {"value": {"try": 2, "reason": "The disk is full."}}, "The disk is full."),
        (200, {"value": {"try": 1, "reason": "of the try before"}}, None),
        (200, {"value": "pushed by another plugin"}, None),
        (404, {"detail": "not found"}, None),
    ],
)
def test_the_reason_is_that_of_the_latest_try(
    status: int, content: dict[str, Any], reason: str | None
) -> None:
    """A try that has left none, because it was killed, say, has none."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert (
            request.url.raw_path
            == b"/api/v2/dags/tiny_ingest/dagRuns/by%20hand%3A%201/taskInstances/stream_to_parquet/xcomEntries/headrace_reason"
        )
        return httpx.Response(status, json=content)

    with httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(answer)) as client:
        assert Airflow(client).reason(RUN, TASK) == reason


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_what_is_no_name_in_an_address_is_no_run(name: str) -> None:
    """A client takes it for a part of the path, and another resource would answer."""
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, json={}))) as client:
        assert Airflow(client).find_run("tiny_ingest", name) is None
