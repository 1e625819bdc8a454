"""One verify run: check every invariant over a scope, and give the account of it."""

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version

import msgspec

from headrace import __version__
from headrace.contract.pipeline import Pipeline
from headrace.kafka.cluster import Cluster
from headrace.kafka.offsets import OffsetRange
from headrace.ledger.entry import Totals
from headrace.ledger.folder import Folder
from headrace.ledger.guard import TopicSnapshot
from headrace.ledger.opening import survey
from headrace.ledger.progress import stored_verified
from headrace.settings import shown
from headrace.verify import history, result
from headrace.verify.batches import Batches
from headrace.verify.checks.balance import Gaps, check_compaction, check_topics
from headrace.verify.checks.frontier import FrontierCheck
from headrace.verify.checks.limits import check_limits
from headrace.verify.contents import Contents
from headrace.verify.findings import Findings
from headrace.verify.invariants import INVARIANTS, ON_DISK
from headrace.verify.judging import Judging
from headrace.verify.readable import Readable
from headrace.verify.resources import named
from headrace.verify.result import Recheck, Report, State
from headrace.verify.scope import Scope
from headrace.verify.settle import draw_number
from headrace.verify.snapshot import Snapshot
from headrace.verify.stored import store

PACKAGES = ("apache-airflow", "pyspark-client", "duckdb", "pyarrow", "confluent-kafka", "msgspec", "orjson")
"""Named in each report. In a container pyspark itself is a part of Spark and no package; its client always is
of the same version."""

ShowProgress = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""Given how many offsets there are to judge, gives a function to call with how many are done."""


def verify(  # noqa: PLR0913, all of them are the caller's to say
    folder: Folder,
    pipeline: Pipeline,
    kafka: Cluster,
    scope: Callable[[], Scope],
    run: Callable[[int], str],
    show_progress: ShowProgress,
    *,
    purpose: str,
    ingest_is_running: Callable[[], bool] = lambda: False,
    is_stored: bool = True,
) -> Report:
    """Check everything in a scope, and store the report.

    Args:
        folder: The pipeline's.
        pipeline: Its file.
        kafka: The cluster.
        scope: Says what to check, once the number is drawn.
        run: Makes the run's id from the number of its report.
        show_progress: Shows progress.
        purpose: Who holds the lock, for a process that waits for it.
        ingest_is_running: Says, once the scope is drawn, whether an ingest is queued or running. Then the lag
            is not judged.
        is_stored: Whether the report is, under a number of its own; if not, nothing is left behind.

    Returns:
        What was found; what does not hold is in it, not raised.

    Raises:
        UnavailableError: The cluster does not answer, a stream that is running decides what there is to say,
            or (`ResourceError`) memory, open files or disk run out.
    """
    number = draw_number(folder, purpose) if is_stored else 1
    drawn = scope()
    verification = Verification(folder, pipeline, kafka, drawn, number, ingest_is_running=ingest_is_running())
    with show_progress(verification.offset_count) as on_progress:
        verification.on_progress = on_progress
        found = verification.run(run(number))
    if is_stored:
        store(folder, found)
    return found


class Verification:
    """The checks of one run, in their order.

    The folder, then Kafka's topics, then the records, then what comes after the ledger.

    See `Snapshot` for what is read when.

    Args:
        number: Of the report, drawn when the run began (`settle.draw_number`).
        ingest_is_running: Whether an ingest is queued or running.

    Attributes:
        on_progress: Called again and again with the number of offsets that are done.
        lost: What was never published and left Kafka, and is not accepted.
        unproven: What was published and aged out before it was verified, and is not accepted.
    """

    def __init__(
        self,
        folder: Folder,
        pipeline: Pipeline,
        kafka: Cluster,
        scope: Scope,
        number: int,
        *,
        ingest_is_running: bool = False,
    ) -> None:
        self.pipeline = pipeline
        self.kafka = kafka
        self.number = number
        self.ingest_is_running = ingest_is_running or folder.is_being_written()
        self.snapshot = Snapshot(folder, scope)
        self.findings = Findings()
        self.on_progress: Callable[[int], None] = lambda _: None
        self.lost: list[OffsetRange] = []
        self.unproven: list[OffsetRange] = []

    @property
    def offset_count(self) -> int:
        """How many offsets its micro-batches cover."""
        return sum(len(each) for entry in self.snapshot.chosen for each in entry.ranges)

    def run(self, run: str) -> Report:
        """Check everything; raises like `verify`."""
        with named():
            return self._run(run)

    def _run(self, run: str) -> Report:
        began = datetime.now(UTC)
        snapshot, findings = self.snapshot, self.findings
        for check in ON_DISK:
            check(snapshot, findings)

        topics = self._survey()
        check_topics(self.kafka, snapshot, topics, findings)

        there, gaps = (
            Readable(topics, snapshot.identity, findings),
            Gaps(self.kafka, snapshot.accepted, findings),
        )
        batches = Batches(snapshot, self.kafka, there, gaps, findings)
        judging = Judging(snapshot, self.kafka, there, gaps, findings, self.on_progress)
        covered = judging.judge(batches)
        check_compaction(snapshot, topics, findings)
        batches.read_back(covered)
        batches.check()

        frontier = FrontierCheck(self.pipeline, self.kafka, snapshot, topics, findings)
        waiting = frontier.check()
        limits = check_limits(
            self.pipeline.limits, snapshot, waiting, began, findings, ingest_is_running=self.ingest_is_running
        )

        self.lost, self.unproven = [*gaps.lost, *frontier.lost], there.unproven
        return self._report(run, began, batches, judging, gaps, waiting, limits)

    def _survey(self) -> TopicSnapshot:
        """The topics of the pipeline file, and those that ledger and receipts are about."""
        snapshot = self.snapshot
        names = {topic.name for topic in self.pipeline.topics} | (
            snapshot.identity.topics.keys() if snapshot.identity else set()
        )
        names |= {landing.topic for receipt in snapshot.receipts for landing in receipt.landings}
        return survey(self.kafka, sorted(names))

    def _report(
        self,
        run: str,
        began: datetime,
        batches: Batches,
        judging: Judging,
        gaps: Gaps,
        waiting: result.Waiting,
        limits: list[result.Limit],
    ) -> Report:
        snapshot, findings, folder = self.snapshot, self.findings, self.snapshot.folder
        contents = Contents.of(
            folder, snapshot.chosen, snapshot.accepted, judging.files, damaged=findings.any
        )
        newest = snapshot.links.get(snapshot.newest)
        totals = newest.entry.totals if newest else Totals()
        accepted = snapshot.accepted.account(snapshot.scope.micro_batches)
        receipts, invariants = batches.accounts(), findings.outcomes(INVARIANTS)
        return Report(
            number=self.number,
            seen=max(self.number, stored_verified(folder).number),
            pipeline=self.pipeline.name,
            description=self.pipeline.description,
            run=run,
            state=State.RED if findings.any else State.GREEN,
            checked_at=began,
            seconds=(datetime.now(UTC) - began).total_seconds(),
            versions=_versions(),
            balance=contents.balance,
            receipts=receipts,
            invariants=invariants,
            recheck=Recheck(
                micro_batches=snapshot.published(findings.micro_batches),
                restorable=snapshot.published(findings.restorable),
                receipts=sorted(findings.receipts),
                everything=findings.doubts_everything,
            ),
            waiting=waiting,
            limits=limits,
            gaps_not_checked=self._unchecked_gaps(judging, gaps),
            gaps_not_checked_of=dict(gaps.unchecked),
            published_meanwhile=snapshot.published_meanwhile if snapshot.scope.updates_verified else 0,
            history=history.account(snapshot.verified, snapshot.again, snapshot.scope, began),
            last_records=[judging.last_records[place] for place in sorted(judging.last_records)],
            hashes=snapshot.hashes,
            quarantine=contents.quarantine,
            undeclared=judging.undeclared.account,
            kept_per_minute=contents.kept_per_minute,
            samples=contents.samples,
            micro_batches=contents.micro_batches,
            accepted=accepted,
            settled={
                entry.number: by
                for entry in snapshot.chosen
                if not judging.was_proven(entry)
                and (by := snapshot.accepted.settling(entry.ranges)) is not None
            },
            aged_out=sorted(judging.aged_out),
            ever=result.Totals(
                micro_batches=snapshot.newest + 1,
                **msgspec.structs.asdict(totals),
                lost=sum(each.lost for each in accepted),
                unproven=sum(each.unproven for each in accepted),
            ),
            events=shown(folder.events),
            quarantined_records=shown(folder.quarantine),
        )

    def _unchecked_gaps(self, judging: Judging, gaps: Gaps) -> int:
        """Gaps of all that is published that could not be checked.

        Those of micro-batches that this run judged are what it found.
        """
        looked_at = self.snapshot.hashes.entries.keys() - judging.aged_out
        known = sum(
            count
            for number, count in self.snapshot.verified.gaps_not_checked.items()
            if number not in looked_at
        )
        return known + gaps.unchecked.total()


@cache
def _versions() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES} | {
        "headrace": __version__,
        "python": platform.python_version(),
    }
