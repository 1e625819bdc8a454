"""Reports to render: one that reads like a real one, and any that the types allow."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeVar

from hypothesis import strategies as st

from headrace.verify.result import (
    Balance,
    Finding,
    Hashes,
    Hidden,
    History,
    Invariant,
    InvariantState,
    Landed,
    Limit,
    MicroBatch,
    Minute,
    Reason,
    ReceiptAccount,
    ReceiptState,
    Recheck,
    Report,
    Sample,
    State,
    Totals,
    Undeclared,
    Waiting,
    WaitingPartition,
)

NOW = datetime(2026, 11, 22, 21, 15, 3, tzinfo=UTC)

HOSTILE = [
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "\"' onload='x",
    "{{ 7 * 7 }}",
    "[red]markup[/red]",
    "[/]",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "two\nlines\r\n",
    "\x00\x7f\x9b",
    "\ud800",
    "\ufffe",
    "https://example.invalid/x.png",
    "x" * 10_000,
    "",
    "`code`",
]
"""Values that have broken other people's pages and terminals."""


def finding(**fields: Any) -> Finding:
    """A finding at offset 120 of partition 1."""
    usual: dict[str, Any] = {"topic": "test-topic", "partition": 1, "from_offset": 120, "until_offset": 123}
    return Finding(**({"message": "3 offsets hold records that no verdict counts."} | usual | fields))


def invariant(
    number: int, state: InvariantState = InvariantState.HELD, findings: list[Finding] | None = None
) -> Invariant:
    """One of I1 to I8."""
    findings = findings or []
    return Invariant(
        id=f"I{number}",
        title=f"title of {number}",
        state=state,
        checked=1000,
        unit="records",
        found=len(findings),
        findings=findings,
    )


def report(**fields: Any) -> Report:
    """A green report over 1,002 offsets in two partitions, with a receipt and one micro-batch.

    `fields` replace its own.
    """
    return Report(**(_fields() | fields))


def _fields() -> dict[str, Any]:
    return {
        "number": 1,
        "seen": 1,
        "pipeline": "important_messages",
        "description": "Keeps the messages that call themselves important.",
        "run": "manual__2026-11-22T21:15:00+00:00",
        "state": State.GREEN,
        "checked_at": NOW,
        "seconds": 2.4,
        "versions": {"spark": "4.2.0"},
        "balance": [
            Balance(
                topic="test-topic",
                partition=0,
                from_offset=0,
                until_offset=600,
                kept=200,
                filtered=396,
                quarantined=4,
                gaps=0,
            ),
            Balance(
                topic="test-topic",
                partition=1,
                from_offset=0,
                until_offset=402,
                kept=86,
                filtered=304,
                quarantined=10,
                gaps=2,
            ),
        ],
        "receipts": [
            ReceiptAccount(
                run="manual__first",
                state=ReceiptState.VERIFIED,
                wanted=1000,
                landed=1000,
                partitions=[
                    Landed(
                        topic="test-topic",
                        partition=0,
                        lowest_offset=0,
                        highest_offset=599,
                        count=600,
                        landed=600,
                    ),
                    Landed(
                        topic="test-topic",
                        partition=1,
                        lowest_offset=0,
                        highest_offset=401,
                        count=400,
                        landed=400,
                    ),
                ],
            )
        ],
        "last_records": [],
        "hashes": Hashes(entries={}, receipts={}),
        "recheck": Recheck(restorable=[], micro_batches=[], receipts=[]),
        "waiting": Waiting(),
        "limits": [],
        "gaps_not_checked": 0,
        "gaps_not_checked_of": {},
        "published_meanwhile": 0,
        "history": History(checked=[], began=0, until=None, at=None),
        "invariants": [invariant(number) for number in range(1, 11)],
        "quarantine": [Reason(reason="wrong_type", field="amount", count=14)],
        "kept_per_minute": [Minute(minute=NOW.replace(second=0), kept=286)],
        "samples": [
            Sample(
                topic="test-topic",
                partition=0,
                offset=3,
                timestamp=NOW,
                key="k-3",
                values={"value": '"This is an important message"'},
            )
        ],
        "aged_out": [],
        "micro_batches": [
            MicroBatch(
                id=0,
                published_at=NOW,
                seconds=4.1,
                kept=286,
                filtered=700,
                quarantined=14,
                gaps=2,
                files=1,
                bytes=48_212,
                filter="contains(value, 'important')",
            )
        ],
        "ever": Totals(micro_batches=1, kept=286, filtered=700, quarantined=14, gaps=2),
        "events": "data/important_messages/events",
        "quarantined_records": "data/important_messages/quarantine",
    }


T = TypeVar("T")

texts = st.text(st.characters(), max_size=40) | st.sampled_from(HOSTILE)
numbers = st.integers(0, 2_000) | st.integers(-(2**63), 2**63 - 1)
zones = st.none() | st.just(UTC) | st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours)))
moments = st.datetimes(timezones=zones)
seconds = st.floats()


def few(of: st.SearchStrategy[T]) -> st.SearchStrategy[list[T]]:
    """None, one or some."""
    return st.lists(of, max_size=4)


def optional(of: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    """Present or not."""
    return st.none() | of


findings = st.builds(
    Finding,
    message=texts,
    topic=optional(texts),
    partition=optional(numbers),
    from_offset=optional(numbers),
    until_offset=optional(numbers),
    micro_batch=optional(numbers),
    file=optional(texts),
    receipt=optional(texts),
)
ids = st.sampled_from([f"I{number}" for number in range(1, 11)]) | texts
invariants = st.builds(
    Invariant,
    id=ids,
    title=texts,
    state=st.sampled_from(InvariantState),
    checked=numbers,
    unit=texts,
    found=numbers,
    findings=st.lists(findings, max_size=7),
)
counts = {"kept": numbers, "filtered": numbers, "quarantined": numbers, "gaps": numbers}
landings = st.builds(
    Landed,
    topic=texts,
    partition=numbers,
    lowest_offset=numbers,
    highest_offset=numbers,
    count=numbers,
    landed=numbers,
)
receipts = st.builds(
    ReceiptAccount,
    run=texts,
    state=st.sampled_from(ReceiptState),
    wanted=numbers,
    landed=numbers,
    partitions=few(landings),
)
samples = st.builds(
    Sample,
    topic=texts,
    partition=numbers,
    offset=numbers,
    timestamp=moments,
    key=optional(texts),
    values=st.dictionaries(texts, optional(texts), max_size=3),
)
micro_batches = st.builds(
    MicroBatch,
    id=numbers,
    published_at=moments,
    seconds=seconds,
    files=numbers,
    bytes=numbers,
    filter=texts,
    **counts,
)
waiting_partitions = st.builds(
    WaitingPartition,
    topic=texts,
    partition=numbers,
    from_offset=numbers,
    until_offset=numbers,
    oldest_at=optional(moments),
    hidden=optional(
        st.builds(
            Hidden,
            stable_offset=numbers,
            offsets=numbers,
            began_at=optional(moments),
            hanging=st.booleans(),
            abort=optional(texts),
        )
    ),
)
waiting = st.builds(
    Waiting,
    offsets=numbers,
    oldest_seconds=optional(seconds),
    partitions=few(waiting_partitions),
    unfinished=optional(texts),
    before_any_stream=st.booleans(),
)
reports = st.builds(
    Report,
    number=numbers,
    seen=numbers,
    waiting=waiting,
    limits=few(
        st.builds(Limit, name=texts, limit=seconds, found=optional(seconds), shown=texts, allowed=texts)
    ),
    gaps_not_checked=numbers,
    gaps_not_checked_of=st.dictionaries(numbers, numbers, max_size=2),
    published_meanwhile=numbers,
    history=st.builds(
        History, checked=few(numbers), began=numbers, until=optional(numbers), at=optional(moments)
    ),
    pipeline=texts,
    description=texts,
    run=texts,
    state=st.sampled_from(State),
    checked_at=moments,
    seconds=seconds,
    versions=st.dictionaries(texts, texts, max_size=3),
    balance=few(
        st.builds(
            Balance, topic=texts, partition=numbers, from_offset=numbers, until_offset=numbers, **counts
        )
    ),
    receipts=few(receipts),
    invariants=few(invariants),
    undeclared=optional(st.builds(Undeclared, sample=numbers, fields=few(texts), more=st.booleans())),
    quarantine=few(st.builds(Reason, reason=texts, field=optional(texts), count=numbers)),
    kept_per_minute=few(st.builds(Minute, minute=moments, kept=numbers)),
    samples=few(samples),
    micro_batches=few(micro_batches),
    ever=st.builds(Totals, micro_batches=numbers, **counts),
    events=texts,
    quarantined_records=texts,
)
