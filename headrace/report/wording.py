"""What a report says in words: its outcome, what a finding means and what to do.

All sentences are in one file, so that they use the same words.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headrace.text import clock, lasting, listed, number, plural
from headrace.verify.findings import Advice
from headrace.verify.invariants import ABOUT_WHAT_COMES, INVARIANTS
from headrace.verify.result import (
    Finding,
    Invariant,
    InvariantState,
    ReceiptState,
    Report,
    State,
    Undeclared,
    Waiting,
    WaitingPartition,
)

UNVERIFIABLE = Advice(
    "This can't be proven any more: Kafka no longer holds the records that it would have to be compared with.",
    "Raise the topic's retention well above the time between two verify runs, so that it does not happen again. "
    "`headrace accept {pipeline} --reason …` marks these offsets as unproven, on the record, and leaves everything else as it is.",
)

OF_BROKEN = {each.id: each.advice for each in INVARIANTS}
WORDS = {each.id: each.word for each in INVARIANTS}

UNKNOWN = Advice(
    "This invariant does not hold.",
    "Read the findings; `headrace reset {pipeline}` moves the data aside and starts again.",
)

AFTERWARDS = "`headrace verify {pipeline}` then checks everything again, without Airflow."

RECEIPT_STATES = {
    ReceiptState.VERIFIED: "read back whole",
    ReceiptState.AGED_OUT: "was read back whole; Kafka no longer holds it",
    ReceiptState.ACCEPTED: "can't be read back whole any more, which was accepted",
    ReceiptState.BROKEN: "broken",
    ReceiptState.PENDING: "not published yet; a later run checks it",
    ReceiptState.OPEN: "its producer has not finished; checked once it has",
}

STATES = {
    InvariantState.HELD: "held",
    InvariantState.BROKEN: "BROKEN",
    InvariantState.UNVERIFIABLE: "UNVERIFIABLE",
    InvariantState.NOT_CHECKED: "not checked",
}

PLAIN_NAME = re.compile(r"[\w.-]+")

SPECIAL = frozenset('"$`\\!')
"""Characters that a shell interprets within double quotes."""


@dataclass(frozen=True)
class Outcome:
    """The first thing a reader wants to know."""

    green: bool
    headline: str
    detail: str
    is_proof: bool = True
    """Whether green says something of published records; before the first stream there are none."""

    @property
    def word(self) -> str:
        """Green, Red, or Nothing yet."""
        return ("Green" if self.is_proof else "Nothing yet") if self.green else "Red"

    @property
    def sentence(self) -> str:
        """State and headline: "Green: all 1,000 records are accounted for"."""
        return f"{self.word}: {self.headline}" if self.is_proof else self.headline


def columns(report: Report) -> list[str]:
    """What the offsets of a balance are divided into; lost ones only where there are any."""
    return [
        "kept",
        "filtered",
        "quarantined",
        "gaps",
        *(["lost"] if any(row.lost for row in report.balance) else []),
    ]


def outcome(report: Report) -> Outcome:
    """One sentence, and the next one."""
    return _green(report) if report.is_green else _red(report)


def advice(invariant: Invariant, pipeline: str) -> Advice:
    """What a broken or unverifiable invariant means, and what to do."""
    found = (
        UNVERIFIABLE
        if invariant.state is InvariantState.UNVERIFIABLE
        else OF_BROKEN.get(invariant.id, UNKNOWN)
    )
    return Advice(found.means, found.do.replace("{pipeline}", pipeline))


def where(finding: Finding) -> str:
    """The place of a finding in brackets, as far as its message does not say it anyway."""
    places = []
    if finding.topic is not None:
        place = finding.topic if finding.partition is None else f"{finding.topic}-{finding.partition}"
        places.append(f"{place} {_offsets(finding)}".rstrip())
    if finding.micro_batch is not None:
        places.append(f"micro-batch {finding.micro_batch}")
    if finding.receipt is not None:
        places.append(f"receipt {finding.receipt}")
    if finding.file is not None:
        places.append(finding.file)
    said = [place for place in places if place not in finding.message]
    return f" [{', '.join(said)}]" if said else ""


def afterwards(pipeline: str) -> str:
    """How to see whether mending helped."""
    return AFTERWARDS.replace("{pipeline}", pipeline)


def _offsets(finding: Finding) -> str:
    if finding.from_offset is None:
        return ""
    last = finding.from_offset if finding.until_offset is None else finding.until_offset - 1
    return (
        f"offset {number(last)}"
        if last == finding.from_offset
        else f"offsets {number(finding.from_offset)} to {number(last)}"
    )


def waits(waiting: Waiting) -> str:
    """What waits in Kafka, in words: "up to 500 more wait in Kafka, the oldest for 3 minutes".

    Empty if nothing does.
    """
    if not waiting.offsets:
        return ""
    records = (
        f"up to {plural(waiting.offsets, 'record')} {'waits' if waiting.offsets == 1 else 'wait'} in Kafka"
    )
    return (
        records
        if waiting.oldest_seconds is None
        else f"{records}, the oldest for {lasting(waiting.oldest_seconds)}"
    )


def summary(report: Report) -> dict[str, Any]:
    """What an asset event says of a report: what was verified, and what waits."""
    return {
        "run": report.run,
        "headline": outcome(report).sentence,
        "records": sum(row.records for row in report.balance),
        "waiting": {
            "records": report.waiting.offsets,
            "partitions": len(report.waiting.partitions),
            "oldest_seconds": report.waiting.oldest_seconds,
        },
    }


def accepted(report: Report) -> list[str]:
    """What was accepted as lost or unproven, by whom, when and why; the newest first."""
    said = []
    for each in reversed(report.accepted):
        parts = [f"{plural(each.lost, 'offset')} lost" if each.lost else ""]
        parts += [
            f"{number(each.unproven) if each.lost else plural(each.unproven, 'offset')} unproven"
            if each.unproven
            else ""
        ]
        said.append(
            f"{', '.join(filter(None, parts))}, accepted on {clock(each.at)} by {each.by}: {each.reason}"
        )
    return said


def undeclared(report: Report) -> list[str]:
    """The names of fields that records have and the pipeline does not declare.

    In quotes where they could be taken for something else.
    """
    names = report.undeclared.fields if report.undeclared else []
    return [name if PLAIN_NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False) for name in names]


def of_sample(found: Undeclared) -> str:
    """What names of fields are from: "in a sample of 10,000 records"."""
    return f"{'and others, ' if found.more else ''}in a sample of {plural(found.sample, 'record')}"


def hides(row: WaitingPartition) -> str:
    """Which offsets of a partition an open transaction hides, since when, and what ends it if it hangs.

    Empty if none does.
    """
    hidden = row.hidden
    if hidden is None:
        return ""
    since = f"since {clock(hidden.began_at)}" if hidden.began_at else "since an unknown time"
    text = f"{row.topic}-{row.partition}: an open transaction ({since}) hides {plural(hidden.offsets, 'offset')} from offset {hidden.stable_offset} on"
    if hidden.abort:
        text += f". It hangs: it has been open for longer than the brokers allow, and no transaction coordinator that Headrace may ask knows it. Make sure that its producer is gone, then end it with: `{hidden.abort}`"
    return text


def _green(report: Report) -> Outcome:
    found = sum(row.records for row in report.balance)
    gaps = sum(row.gaps for row in report.balance)
    waiting, waits_too = report.waiting, waits(report.waiting)
    if waiting.before_any_stream:
        headline = "Nothing to verify yet" + (f"; {waits_too}" if waits_too else "")
        detail = f"No stream has run in this folder. If you expected one, the folder was moved: put it back, or set HEADRACE_DATA to where it is. {report.pipeline}_ingest runs the first one."
        return Outcome(green=True, headline=headline, detail=detail, is_proof=False)
    published = "published " if waits_too else ""
    if found:
        headline = (
            f"the one {published}record is accounted for"
            if found == 1
            else f"all {found:,} {published}records are accounted for"
        )
    elif gaps:
        headline = f"no new records; {plural(gaps, 'offset')} held none (confirmed by an independent read)"
    elif report.ever.micro_batches:
        headline = "nothing new to verify"
    else:
        headline = "nothing was published yet"
    if new := [each for each in report.accepted if each.is_new]:
        lost, unproven = (sum(getattr(each, what) for each in new) for what in ("lost", "unproven"))
        headline += f"; {' and '.join(f'{count:,} {what}' for count, what in ((lost, 'lost'), (unproven, 'unproven')) if count)}, as accepted"
    if report.gaps_not_checked:
        headline += f"; {plural(report.gaps_not_checked, 'gap')} could not be checked"
    if waits_too:
        headline += f". {waits_too[0].upper()}{waits_too[1:]}"
    return Outcome(green=True, headline=headline, detail=" ".join(filter(None, _details(report))))


def _details(report: Report) -> Iterator[str]:
    yield _files(report) if report.ever.micro_batches else "There was nothing to check."
    if report.waiting.unfinished:
        yield f"The last stream ({report.waiting.unfinished}) did not finish."
    if report.published_meanwhile:
        yield f"{_micro_batches(report.published_meanwhile)} published meanwhile; the next run verifies them."
    if hidden := [row for row in report.waiting.partitions if row.hidden]:
        yield f"Open transactions hide the end of {plural(len(hidden), 'partition')}."


def _files(report: Report) -> str:
    """How the files were checked: those of the scope by their content, the history a few at a time."""
    others = {each.entry for each in report.accepted}
    checked = sum(each.id not in others for each in report.micro_batches)
    parts = [
        f"The files of {_micro_batches(checked)} match their published SHA-256." if checked else "",
        f"Kafka no longer holds all records of {len(report.aged_out):,} of them, which were judged while it did."
        if report.aged_out
        else "",
    ]
    return " ".join(filter(None, parts))


def history(report: Report) -> str:
    """How far the earlier micro-batches were looked at again."""
    if report.history.until is None or report.history.at is None:
        return "no complete round yet" if report.history.checked else ""
    return f"micro-batches up to {report.history.until:,} were all checked after {clock(report.history.at)}"


def _micro_batches(count: int) -> str:
    return plural(count, "micro-batch/micro-batches")


def _short(invariant: Invariant) -> str:
    return _short_of(invariant.id)


def _short_of(number: str) -> str:
    about = WORDS.get(number)
    return f"{number} ({about})" if about else number


def _red(report: Report) -> Outcome:
    wrong = [
        _short(invariant) for invariant in report.broken if invariant.state is not InvariantState.UNVERIFIABLE
    ]
    unproven = [
        _short(invariant) for invariant in report.broken if invariant.state is InvariantState.UNVERIFIABLE
    ]
    parts = [
        f"{listed(wrong)} {'is' if len(wrong) == 1 else 'are'} broken" if wrong else "",
        f"{listed(unproven)} cannot be verified any more" if unproven else "",
    ]
    headline = ", and ".join(filter(None, parts))
    if wrong == [_short_of("I9")] and not report.ever.micro_batches and not report.waiting.before_any_stream:
        stream = f" ({report.waiting.unfinished})" if report.waiting.unfinished else ""
        middle = f"{waits(report.waiting)}, and " if report.waiting.offsets else ""
        headline = f"nothing was published, {middle}the last stream{stream} did not finish"
        return Outcome(green=False, headline=headline, detail="")
    if report.state is State.GREEN:
        headline = f"the report says green, but {headline or 'its balance does not add up'}"
        return Outcome(
            green=False,
            headline=headline,
            detail="Do not rely on this report: it was altered, or it is a bug.",
        )
    if headline and all(invariant.id in ABOUT_WHAT_COMES for invariant in report.broken):
        headline += (
            f". {waits(report.waiting)}".replace(". up to", ". Up to") if report.waiting.offsets else ""
        )
        return Outcome(
            green=False,
            headline=headline,
            detail="The records that are published are accounted for. What was found, and what to do:",
        )
    if headline:
        return Outcome(
            green=False,
            headline=headline,
            detail="Do not rely on these records yet. What was found, and what to do:",
        )
    return Outcome(
        green=False,
        headline="the records are not accounted for",
        detail="The log of the verify run's tasks says why.",
    )
