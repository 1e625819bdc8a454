"""A micro-batch that several processes prove, and one that they can't."""

import logging
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from headrace.verify import grouping, workers
from headrace.verify.result import Report
from slices import JSON, Slice, broken


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[list[workers.Proven] | None]:
    """What the workers prove, also of small micro-batches, as on two cores."""
    monkeypatch.setattr(grouping, "GROUP_OFFSETS", 0)
    monkeypatch.setattr(workers, "FEWEST", 10)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    answers: list[list[workers.Proven] | None] = []
    prove = workers.Workers.prove

    def noted(*arguments: Any) -> list[workers.Proven] | None:
        answers.append(prove(*arguments))
        return answers[-1]

    monkeypatch.setattr(workers.Workers, "prove", noted)
    return answers


def figures(report: Report) -> object:
    """What a report says of the records."""
    return (
        report.balance,
        report.receipts,
        report.quarantine,
        report.undeclared,
        report.last_records,
        report.micro_batches,
        [(each.id, each.state, each.checked, each.found) for each in report.invariants],
    )


def test_what_workers_prove_is_as_without_them(
    new_slice: Callable[..., Slice], found: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records of a batch and others, usable and not, with gaps: the report says the same."""
    one = new_slice(JSON)
    one.produce("run", records=600, malformed=0.1)
    one.write([(b"k", b'{"order_id":1,"more":2}')] * 50)
    one.stream()
    with_workers = one.verify("first", all_of_it=True)
    assert with_workers.state == "green"
    assert found
    assert all(found)
    assert {len(parts) for parts in found} == {2}
    monkeypatch.setattr(workers, "FEWEST", 1_000_000)
    assert figures(one.verify("second", all_of_it=True)) == figures(with_workers)
    assert found[-1] is None


def test_what_they_can_not_prove_is_judged_without_them(
    new_slice: Callable[..., Slice],
    found: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A changed row is red with its offset; a worker that is killed makes nothing red."""
    one = new_slice(JSON)
    one.ingest("run", records=600)
    start = workers._start  # noqa: SLF001

    def killed() -> "subprocess.Popen[bytes]":
        worker = start()
        worker.kill()
        return worker

    with monkeypatch.context() as patch:
        patch.setattr(workers, "_start", killed)
        assert one.verify("killed", all_of_it=True).state == "green"
    assert not any(found)
    entry = one.ledger[0]
    path = one.folder.published(one.folder.events, 0) / entry.events[0].name
    content = path.read_bytes()
    path.write_bytes(content.replace(b"paid", b"PAID"))
    caplog.set_level(logging.INFO, "headrace")
    wrong = one.verify("damaged", all_of_it=True)
    assert "is verified in one process: " in caplog.text
    assert wrong.state == "red"
    assert {"I7", "I8"} & broken(wrong).keys()
    path.write_bytes(content)
    assert one.verify("mended", all_of_it=True).state == "green"
    assert all(found[-3:])
