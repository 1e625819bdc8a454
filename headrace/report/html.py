"""The report as one HTML page that needs nothing else: no script, no font, no request."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from headrace import text as as_text
from headrace.report import readers, wording
from headrace.report.bars import chart
from headrace.verify.quarantined import Unusable
from headrace.verify.result import RED, InvariantState, MicroBatch, ReceiptAccount, Report

MAX_ROWS = 200
"""Rows of a table; the rest is in `report.json`."""

FIRST_FINDINGS = 5
"""Findings of an invariant that are shown before the reader asks for more."""


def render(report: Report, unusable: Sequence[Unusable] = ()) -> str:
    """The page.

    Whatever stands in the report or in records is shown as text: it cannot become markup, nor hide or reorder
    other text.

    Args:
        unusable: Samples of what the report counts as quarantined.
    """
    columns = list(dict.fromkeys(name for sample in report.samples for name in sample.values))
    return (
        _templates()
        .get_template("report.html.jinja")
        .render(
            report=report,
            outcome=wording.outcome(report),
            totals=_totals(report),
            shares=_shares(report),
            broken=report.broken,
            chart=chart(report.kept_per_minute),
            columns=columns,
            parts=wording.columns(report),
            accepted=wording.accepted(report),
            unusable=unusable,
            filters=_filters(report.micro_batches),
            readers=readers.readers(report.events),
            most_rows=MAX_ROWS,
            first_findings=FIRST_FINDINGS,
        )
    )


class TaskState(StrEnum):
    """What a task of a run is at, in words that follow its name."""

    FAILED = "failed"
    TRIED_AGAIN = "failed, and is about to be tried again"
    RUNNING = "is running"
    ASKING = "waits for an answer"
    WAITING = "is about to start"


@dataclass(frozen=True)
class Task:
    """A task that says why a run has no report."""

    name: str
    state: TaskState
    try_number: int
    reason: str | None
    """Why it failed, as far as that is known."""
    log: str
    """Address of its log."""
    log_before: str | None = None
    """Address of the log of the try before."""


def notice(headline: str, text: str, tasks: Sequence[Task] = (), report: str = "") -> str:
    """A page in the report's style that only says something.

    Args:
        tasks: What the run is at.
        report: Address of a report there is nevertheless.
    """
    failed = {TaskState.FAILED, TaskState.TRIED_AGAIN}
    is_red = any(task.state is TaskState.FAILED for task in tasks)
    return (
        _templates()
        .get_template("notice.html.jinja")
        .render(
            headline=headline,
            text=text,
            tasks=tasks,
            report=report,
            failed=failed,
            waiting=TaskState.WAITING,
            is_red=is_red,
        )
    )


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("headrace.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "checked": as_text.checked,
        "clock": as_text.clock,
        "duration": as_text.duration,
        "number": as_text.number,
        "paragraphs": as_text.paragraphs,
        "plural": as_text.plural,
        "shortened": as_text.shortened,
        "size": as_text.size,
        "code": _code,
    }
    templates.globals |= {
        "advice": wording.advice,
        "afterwards": wording.afterwards,
        "landed_short": _landed_short,
        "receipt_states": wording.RECEIPT_STATES,
        "InvariantState": InvariantState,
        "red": RED,
        "states": wording.STATES,
        "hides": wording.hides,
        "history": wording.history,
        "of_sample": wording.of_sample,
        "undeclared": wording.undeclared,
    }
    return templates


def _finalize(value: Any) -> Any:
    """Jinja passes every expression's value through here, so no text can be forgotten."""
    return as_text.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _code(text: str) -> Markup:
    """Text whose parts between backquotes are code."""
    parts = as_text.visible(text).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )


def _totals(report: Report) -> dict[str, int]:
    names = wording.columns(report)
    totals = {name: sum(getattr(row, name) for row in report.balance) for name in names}
    return totals | {"offsets": sum(row.until_offset - row.from_offset for row in report.balance)}


def _shares(report: Report) -> list[tuple[str, float, float]]:
    """Name, start and width in per cent of each part of the proportion bar."""
    totals = _totals(report)
    names = wording.columns(report)
    whole = sum(max(totals[name], 0) for name in names)
    shares, start = [], 0.0
    for name in names:
        width = 100 * max(totals[name], 0) / whole if whole else 0.0
        shares.append((name, start, width))
        start += width
    return shares


def _filters(micro_batches: list[MicroBatch]) -> list[tuple[str, int]]:
    """Each filter by which micro-batches were judged, and how many were."""
    return list(Counter(micro_batch.filter for micro_batch in micro_batches).items())


def _landed_short(receipt: ReceiptAccount) -> bool:
    """Whether fewer or more records landed than the receipt's producer wanted."""
    return receipt.landed != receipt.wanted
