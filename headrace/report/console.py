"""The report on a terminal or in a task log: the essentials, in about a screen."""

import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.report import readers, wording
from headrace.terminal import LOG_WIDTH
from headrace.text import checked, clock, duration, number, plural, shortened, visible
from headrace.verify.result import RED, Balance, Invariant, ReceiptAccount, ReceiptState, Report, Sample

MAX_PARTITIONS = 24
MAX_RECEIPTS = 5
MAX_FINDINGS = 5
MAX_SAMPLES = 5
MAX_ACCEPTED = 3
MAX_SAMPLE = 100
"""A screen's worth; the rest is in the HTML report."""


def task_log() -> Console:
    """A console for logs: plain text of a fixed width, whatever the environment says of terminals."""
    return Console(
        file=sys.stdout, width=LOG_WIDTH, color_system=None, force_terminal=False, force_interactive=False
    )


def show(report: Report, console: Console, *, samples: bool = True) -> None:
    """Print the outcome, the balance, receipts, invariants, samples and how to read the files.

    Logs that others read must not hold payloads: they leave the samples out, and names that come from
    records.
    """
    page = _Page(console)
    outcome = wording.outcome(report)
    page.line(outcome.sentence, "bold green" if outcome.green else "bold red")
    if outcome.detail:
        page.line(outcome.detail)
    said = wording.accepted(report)
    for line in said[:MAX_ACCEPTED]:
        page.line(line, hanging=2)
    if more := max(len(said) - MAX_ACCEPTED, 0):
        page.line(f"{plural(more, 'earlier acceptance')} in the HTML report", "dim")
    page.blank()
    _broken(page, report)
    _balance(page, report)
    _undeclared(page, report, names=samples)
    _waiting(page, report)
    _receipts(page, report.receipts)
    _held(page, report)
    if samples and outcome.green:
        _samples(page, report.samples)
    _files(page, report, with_readers=outcome.green)


class _Page:
    """Prints text as it stands: never as markup, never cut, only in characters that the console can show."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def line(self, text: str, style: str = "", indent: int = 0, hanging: int = 0) -> None:
        """Print a paragraph; `hanging` indents all of its lines but the first."""
        for place, line in enumerate(
            self.text(text, style).wrap(
                self.console, max(self.console.width - indent - hanging, 1), overflow="ignore"
            )
        ):
            line.rstrip()
            self.console.print(Text(" " * (indent + hanging * (place > 0))) + line, soft_wrap=True)

    def command(self, text: str) -> None:
        """Something to copy: a narrow terminal may wrap it, but no line is broken here."""
        self.console.print(self.text(f"  {text}", "cyan"), soft_wrap=True)

    def blank(self) -> None:
        self.console.print()

    def text(self, text: str, style: str = "") -> Text:
        encoding = self.console.encoding or "utf-8"
        return Text(
            visible(text).encode(encoding, "backslashreplace").decode(encoding), style, overflow="fold"
        )

    def table(
        self, headings: list[str], rows: list[list[str]], *, words: int = 1, total: list[str] | None = None
    ) -> None:
        """A table whose first columns, as many as `words`, hold text, and the others numbers."""
        table = Table(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            show_edge=False,
            show_footer=total is not None,
            header_style="dim",
        )
        for index, heading in enumerate(headings):
            number_column = index >= words
            table.add_column(
                self.text(heading),
                footer=self.text(total[index] if total else ""),
                footer_style="bold",
                justify="right" if number_column else "left",
                no_wrap=number_column,
                overflow="fold",
            )
        for row in rows:
            table.add_row(*map(self.text, row))
        self.console.print(table)
        self.blank()


def _balance(page: _Page, report: Report) -> None:
    if not report.balance:
        page.line("No offsets: this run had no micro-batch to check.")
        page.blank()
        return
    rows = sorted(report.balance, key=lambda row: row.difference == 0)[:MAX_PARTITIONS]
    columns = wording.columns(report)
    totals = {name: sum(getattr(row, name) for row in report.balance) for name in columns}
    offsets = sum(row.until_offset - row.from_offset for row in report.balance)
    page.table(
        ["partition", "offsets", "records", *columns],
        [_balance_row(row, columns) for row in rows],
        total=[
            "total",
            number(offsets),
            number(offsets - totals["gaps"] - totals.get("lost", 0)),
            *map(number, totals.values()),
        ],
    )
    if report.broken:
        page.line("These are the figures of the entries; what was found against them stands above.", "dim")
        page.blank()
    for row in rows:
        if off := row.difference:
            what = "unaccounted for" if off > 0 else "counted too many"
            page.line(
                f"{row.topic}, partition {row.partition}, does not add up: {plural(abs(off), 'offset')} {what}.",
                "red",
            )
    if more := len(report.balance) - len(rows):
        page.line(
            f"{plural(more, 'more partition')} in the HTML report; the total counts all of them.", "dim"
        )
    if report.quarantine:
        reasons = ", ".join(
            " ".join(filter(None, [number(each.count), each.reason, each.field]))
            for each in report.quarantine
        )
        page.line(f"quarantined: {shortened(reasons, 1000)}")
        page.blank()


def _undeclared(page: _Page, report: Report, *, names: bool) -> None:
    found = report.undeclared
    if found is None or not found.fields:
        return
    shown = (
        ", ".join(wording.undeclared(report))
        if names
        else f"{plural(len(found.fields), 'field')}, which the HTML report names"
    )
    page.line(f"not declared: {shown} ({wording.of_sample(found)})", hanging=2)
    page.blank()


def _balance_row(row: Balance, columns: list[str]) -> list[str]:
    offsets = f"{row.from_offset} to {row.until_offset - 1}"
    records = row.until_offset - row.from_offset - row.gaps - row.lost
    return [
        f"{row.topic}-{row.partition}",
        offsets,
        number(records),
        *(number(getattr(row, name)) for name in columns),
    ]


def _waiting(page: _Page, report: Report) -> None:
    rows = sorted(report.waiting.partitions, key=lambda row: row.hidden is None)
    for row in rows[:MAX_PARTITIONS]:
        oldest = f", the oldest of {clock(row.oldest_at)}" if row.oldest_at else ""
        page.line(
            f"waiting {row.topic}-{row.partition}: offsets {row.from_offset} to {row.until_offset - 1}{oldest}",
            hanging=2,
        )
        if hidden := wording.hides(row):
            page.line(hidden, indent=2, hanging=2)
    if more := max(len(rows) - MAX_PARTITIONS, 0):
        page.line(f"{plural(more, 'more partition')} with waiting records in the HTML report", "dim")
    if rows:
        page.blank()


def _receipts(page: _Page, receipts: list[ReceiptAccount]) -> None:
    for receipt in receipts[:MAX_RECEIPTS]:
        style = "red" if receipt.state is ReceiptState.BROKEN else ""
        state = wording.RECEIPT_STATES[receipt.state]
        page.line(
            f"receipt {receipt.run}: {number(receipt.wanted)} wanted -> {number(receipt.landed)} landed ({state})",
            style,
            hanging=2,
        )
    if more := len(receipts) - MAX_RECEIPTS if len(receipts) > MAX_RECEIPTS else 0:
        page.line(f"{plural(more, 'more receipt')} in the HTML report", "dim")
    if not receipts:
        page.line("No receipts among what this run checked: no demo producer made any of it.")
    page.blank()


def _broken(page: _Page, report: Report) -> None:
    for invariant in report.broken:
        _invariant(page, invariant, invariant.state.value.upper(), "bold red")
        for finding in invariant.findings[:MAX_FINDINGS]:
            page.line(f"- {shortened(finding.message, 500)}{wording.where(finding)}", indent=3, hanging=2)
        if (more := invariant.found - len(invariant.findings[:MAX_FINDINGS])) > 0:
            page.line(f"- and {plural(more, 'more finding')}, see the HTML report", "dim", indent=3)
        help_ = wording.advice(invariant, report.pipeline)
        page.line(help_.means, indent=3)
        page.line(f"Do: {help_.do}", indent=3)
    if report.broken:
        page.line(wording.afterwards(report.pipeline))
        page.blank()


def _held(page: _Page, report: Report) -> None:
    if others := [invariant for invariant in report.invariants if invariant.state not in RED]:
        for invariant in others:
            _invariant(page, invariant, wording.STATES[invariant.state])
        page.blank()


def _invariant(page: _Page, invariant: Invariant, word: str, style: str = "") -> None:
    page.line(
        f"{invariant.id} {word:<6} {invariant.title} ({checked(invariant.checked, invariant.unit)})",
        style,
        hanging=10,
    )


def _samples(page: _Page, samples: list[Sample]) -> None:
    if not samples:
        page.line("Nothing was kept, so there are no samples.")
    for sample in samples[:MAX_SAMPLES]:
        values = sample.values
        texts = {
            name: "null" if value is None else shortened(value, MAX_SAMPLE) for name, value in values.items()
        }
        text = (
            next(iter(texts.values()))
            if len(texts) == 1
            else ", ".join(f"{name}={value}" for name, value in texts.items())
        )
        page.line(
            f"{sample.topic}-{sample.partition} @ {number(sample.offset)}  {shortened(text, 4 * MAX_SAMPLE)}"
        )
    page.blank()


def _files(page: _Page, report: Report, *, with_readers: bool) -> None:
    page.line(f"kept records       {report.events}")
    page.line(f"quarantined ones   {report.quarantined_records}")
    page.line(f"checked in         {duration(report.seconds)}")
    if history := wording.history(report):
        page.line(f"history            {history}")
    if not with_readers:
        return
    page.line("read them with:")
    for command in readers.commands(report.events):
        page.command(command)
