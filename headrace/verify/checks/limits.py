"""I10: the limits that the pipeline file sets hold."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from itertools import chain

from headrace.contract.limits import Limits
from headrace.durations import written
from headrace.errors import LedgerError
from headrace.ledger.entries import read_link
from headrace.ledger.entry import Entry
from headrace.ledger.folder import Folder
from headrace.text import duration
from headrace.verify.findings import Advice, Findings, Invariant
from headrace.verify.result import Limit, Waiting
from headrace.verify.snapshot import Snapshot

LIMITS = Invariant(
    id="I10",
    word="limits",
    title="the pipeline's own limits hold",
    unit="limits",
    advice=Advice(
        means="A limit in the pipeline file ([limits]) is exceeded. What is published is not in doubt.",
        do="lag: run {pipeline}_ingest now, and more often. freshness: ask why no records arrive. quarantined: look at the reasons above and "
        "at the producer. If the limit is wrong, change it in the file.",
    ),
    is_about_published=False,
)

LEAST_RECORDS = 1_000
"""A share is taken over at least as many records, where there are as many: of ten records one is no rate."""


def check_limits(
    limits: Limits,
    snapshot: Snapshot,
    waiting: Waiting,
    now: datetime,
    findings: Findings,
    *,
    ingest_is_running: bool,
) -> list[Limit]:
    """Measure each limit that is set; one that is exceeded is a finding.

    Args:
        limits: As the pipeline file sets them.
        snapshot: The folder.
        waiting: What waits in Kafka.
        now: The moment from which ages count.
        findings: Takes what does not hold.
        ingest_is_running: Whether an ingest is queued or running: then the lag is not judged, since what
            waits is being read.
    """
    is_running = ingest_is_running or snapshot.folder.is_being_written() or snapshot.published_meanwhile > 0
    found = measured(
        limits,
        snapshot.folder,
        snapshot.newest,
        snapshot.scope.micro_batches,
        waiting,
        now,
        ingest_is_running=is_running,
    )
    findings.checked[LIMITS] += len(found)
    for limit in found:
        if not limit.holds:
            findings.add(LIMITS, f"{limit.name}: {limit.shown}; the limit is {limit.allowed}")
    return found


def measured(
    limits: Limits,
    folder: Folder,
    newest: int,
    scope: Collection[int],
    waiting: Waiting,
    now: datetime,
    *,
    ingest_is_running: bool,
) -> list[Limit]:
    """Each limit that is set, with what was found.

    Args:
        limits: as the pipeline file sets them
        folder: the pipeline's
        newest: number of the newest entry, -1 before the first
        scope: the micro-batches that this run judges
        waiting: what waits in Kafka
        now: the moment from which ages count
        ingest_is_running: then the lag is not judged, since what waits is being read
    """
    found = []
    if limits.lag is not None:
        age, text = _lag(waiting, ingest_is_running=ingest_is_running)
        found.append(Limit(name="lag", limit=limits.lag, found=age, shown=text, allowed=written(limits.lag)))
    if limits.freshness is not None:
        last = next(
            (
                entry
                for entry in _readable(folder, range(newest, -1, -1))
                if any(account.read for account in entry.accounts)
            ),
            None,
        )
        age = None if last is None else max((now - last.published_at).total_seconds(), 0.0)
        text = (
            "no record was published yet"
            if age is None
            else f"the last record was published {duration(age)} ago"
        )
        found.append(
            Limit(
                name="freshness",
                limit=limits.freshness,
                found=age,
                shown=text,
                allowed=written(limits.freshness),
            )
        )
    if limits.quarantined is not None:
        quarantined, read = _quarantined(folder, newest, scope)
        share = quarantined / read if read else None
        text = (
            f"{quarantined:,} of {read:,} records were quarantined ({quarantined / read:.2%})"
            if read
            else "no record was published yet"
        )
        allowed = f"{100 * limits.quarantined:g}%"
        found.append(
            Limit(name="quarantined", limit=limits.quarantined, found=share, shown=text, allowed=allowed)
        )
    return found


def _lag(waiting: Waiting, *, ingest_is_running: bool) -> tuple[float | None, str]:
    """The age of the oldest waiting record, in seconds (`None` where it is not judged) and in words."""
    if ingest_is_running:
        return None, "not judged while an ingest runs"
    if not waiting.offsets:
        return 0.0, "nothing waits"
    if waiting.before_any_stream:
        return None, "not judged before the first stream"
    if waiting.oldest_seconds is None:
        return None, "not judged: no waiting record has a usable timestamp, and no stream has finished yet"
    return (
        waiting.oldest_seconds,
        f"the oldest waiting record has waited for {duration(waiting.oldest_seconds)}",
    )


def _quarantined(folder: Folder, newest: int, scope: Collection[int]) -> tuple[int, int]:
    """Quarantined and all records of the scope, and of the newest others up to `LEAST_RECORDS`."""
    chosen = frozenset(scope)
    quarantined = read = 0
    for entry in chain(
        _readable(folder, scope),
        _readable(folder, (number for number in range(newest, -1, -1) if number not in chosen)),
    ):
        if entry.number not in chosen and read >= LEAST_RECORDS:
            break
        quarantined += entry.total("quarantined")
        read += sum(account.read for account in entry.accounts)
    return quarantined, read


def _readable(folder: Folder, numbers: Iterable[int]) -> Iterator[Entry]:
    """The entries of these numbers, as far as they can be read; what can't is I8's."""
    for number in numbers:
        try:
            yield read_link(folder, number).entry
        except LedgerError:
            continue
