"""Check every invariant over a scope, and give the account of it."""

import platform
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version

from headrace import __version__
from headrace.contract.pipeline import Pipeline
from headrace.errors import MistakeError
from headrace.kafka import Block, Kafka
from headrace.ledger.entries import Entry
from headrace.ledger.folder import Folder
from headrace.ledger.guard import unlike
from headrace.ledger.identity import logged, read_identity
from headrace.ledger.opening import check_last_records, record_fingerprint
from headrace.ledger.progress import LastRecord, entries_sha256, entry_sha256, published_runs, read_verified, receipt_sha256
from headrace.ledger.ranges import OffsetRange, Positions, advance, merged, without
from headrace.ledger.receipts import ReceiptState, receipts
from headrace.report.model import Hashes, Report, State, Wanting
from headrace.settings import shown
from headrace.verify import engine
from headrace.verify.batches import Batches, claims
from headrace.verify.contents import Contents
from headrace.verify.files import check_chain, check_files, readable_entries
from headrace.verify.findings import Findings, Invariant
from headrace.verify.judge import Judge
from headrace.verify.readable import Readable
from headrace.verify.records import PublishedRows
from headrace.verify.scope import Scope

PACKAGES = ("apache-airflow", "pyspark-client", "duckdb", "pyarrow", "confluent-kafka")
"""Named in each report. In a container pyspark itself is a part of Spark and no package; its client always is of the same version."""


class Verification:
    """One verify run over a pipeline's folder and cluster. Raises `MistakeError` if nothing was ever published there."""

    def __init__(self, folder: Folder, pipeline: Pipeline, kafka: Kafka, scope: Scope) -> None:
        self.folder = folder
        self.pipeline = pipeline
        self.kafka = kafka
        self.scope = scope
        self.findings = Findings()
        # Two, since an error within DuckDB, as a damaged file can cause one, may make a whole database unusable.
        self.judging, self.files = engine.connect(), engine.connect()
        # Before the ledger, which may have grown since: otherwise another verify run's mark could lie beyond it.
        self.verified = read_verified(folder)
        # Before the ledger: what is committed by then has its entry by then, also while a stream is running.
        self.committed = logged(folder.checkpoint, "commits")
        # Before the entries and receipts are read: what changes from now on is noticed at the end of the run.
        self.hashes = Hashes(
            entries={each: digest for each in scope.micro_batches if (digest := entry_sha256(folder, each))},
            receipts={run: digest for run in scope.receipts if (digest := receipt_sha256(folder, run))},
        )
        self.ledger = readable_entries(folder, self.findings)
        self.identity = read_identity(folder)
        self.receipts = list(receipts(folder))
        if self.identity is None and not self.committed and not folder.micro_batches():
            raise MistakeError(
                f"There is nothing to verify in {shown(folder.root)}. If streams have written there before, the folder was moved away: put it back, or name "
                f"its place in HEADRACE_DATA. If none has yet, run {pipeline.name}_ingest first."
            )
        known = self.verified.entries
        self.entries_are_verified = known is None or known == entries_sha256(folder, self.verified.micro_batch)
        self._done = 0
        self.tell: Callable[[int], None] = lambda _: None
        """Told again and again how many of its offsets are done; for whoever waits."""
        self.last_records: dict[tuple[str, int], LastRecord] = {}
        self.aged_out: set[int] = set()
        """Micro-batches of which Kafka no longer holds all records; they were verified while it did."""

    @property
    def offset_count(self) -> int:
        """How many offsets its micro-batches cover."""
        return sum(len(each) for entry in self._chosen for each in entry.ranges)

    @property
    def _chosen(self) -> list[Entry]:
        wanted = frozenset(self.scope.micro_batches)
        return [entry for entry in self.ledger if entry.micro_batch in wanted]

    def run(self, run: str) -> Report:
        """Check everything; what does not hold is in the report, not raised. Raises `BrokerError` if the cluster does not answer."""
        began = datetime.now(UTC)
        wanted = frozenset(self.scope.micro_batches)
        chosen = self._chosen
        for lost in sorted(wanted - set(self.folder.micro_batches())):
            self.findings.add(Invariant.RANGES_JOIN, "the entry was there when this run began and is gone", micro_batch=lost)
        for run_id in sorted(
            set(self.scope.receipts) - {receipt.run for receipt in self.receipts if receipt.state == ReceiptState.COMPLETE}
        ):
            self.findings.add(
                Invariant.RECEIPTS_LANDED, f"run {run_id}: its receipt was there, complete, and is not any more", receipt=run_id
            )
        self._check_mark()
        check_chain(self.folder, self.identity, self.ledger, self.committed, self.findings)
        check_files(self.folder, self.ledger, wanted, self.findings)
        batches = Batches(self.receipts, self.scope.receipts)
        unreadable = self._read_all(chosen, batches)
        batches.check(self.identity.start if self.identity else {}, self._published(), unreadable, self.findings)

        contents = Contents.of(self.folder, chosen, self.files, damaged=self.findings.any)
        published = published_runs(self.folder) | set(self.scope.receipts)
        waiting = [receipt for receipt in self.receipts if receipt.run not in published]
        told = batches.accounts(self.findings, unreadable, waiting)
        return Report(
            pipeline=self.pipeline.name,
            description=self.pipeline.description,
            run=run,
            state=State.RED if self.findings.any else State.GREEN,
            checked_at=began,
            seconds=(datetime.now(UTC) - began).total_seconds(),
            versions=_versions(),
            balance=contents.balance,
            receipts=told,
            invariants=self.findings.invariants(),
            wanting=Wanting(
                micro_batches=sorted(self.findings.micro_batches),
                restorable=sorted(self.findings.restorable),
                receipts=sorted(self.findings.receipts),
            ),
            last_records=[self.last_records[place] for place in sorted(self.last_records)],
            hashes=self.hashes,
            quarantine=contents.quarantine,
            kept_per_minute=contents.kept_per_minute,
            samples=contents.samples,
            micro_batches=contents.micro_batches,
            aged_out=sorted(self.aged_out),
            ever=contents.totals(self.ledger),
            events=shown(self.folder.events),
            quarantined_records=shown(self.folder.quarantine),
        )

    def _read_all(self, chosen: list[Entry], batches: Batches) -> set[str]:
        """Judge the chosen micro-batches again and read back the batches in the scope; returns the runs that can't be read back in full."""
        in_scope = [receipt for receipt in self.receipts if receipt.run in set(self.scope.receipts)]
        topics = {r.topic for entry in chosen for r in entry.ranges} | {r.topic for receipt in in_scope for r in claims(receipt)}
        there = Readable(self.kafka, self.identity, sorted(topics | (self.identity.topics.keys() if self.identity else set())))
        self._check_topics(there)
        covered = [offset_range for entry in chosen for offset_range in self._judge_again(entry, there, batches)]
        for topic in sorted(topics.intersection(there.cluster.compacted)) if there.cluster else ():
            what = "the topic is compacted (cleanup.policy): a record that Kafka removed by its key looks like a gap"
            self.findings.add(Invariant.BALANCE, what, topic=topic)
        unreadable = set()
        rest: dict[tuple[str, int], list[OffsetRange]] = defaultdict(list)
        for receipt in in_scope:
            for claimed in claims(receipt):
                if lost := there.lost(claimed):
                    unreadable.add(receipt.run)
                    if self.verified.receipts.get(receipt.run) != receipt_sha256(self.folder, receipt.run):
                        self._lost(Invariant.RECEIPTS_LANDED, claimed, lost, receipt=receipt.run)
                else:
                    rest[claimed.topic, claimed.partition].append(claimed)
        for ranges in rest.values():
            for hole in merged(ranges):
                for offset_range in without(hole, covered):
                    for block in self.kafka.read(offset_range):
                        batches.take(block, self.findings)
        return unreadable

    def _judge_again(self, entry: Entry, there: Readable, batches: Batches) -> list[OffsetRange]:
        """Judge a micro-batch's records again; returns the ranges that could be read."""
        try:
            rows = PublishedRows(self.folder, entry, self.files, Judge(entry.contract, self.judging), self.findings)
        except MistakeError as error:
            message = f"the entry's filter can't be read, so that nothing was judged by it: {error}"
            self.findings.add(Invariant.FILES_EQUAL, message, micro_batch=entry.micro_batch)
            return []
        were_read = []
        for account in entry.accounts:
            if lost := there.lost(account.range):
                if self._was_proven(entry):
                    self.aged_out.add(entry.micro_batch)
                else:
                    self._lost(Invariant.VERDICTS_EQUAL, account.range, lost, micro_batch=entry.micro_batch)
                self._pass(len(account.range))
                continue
            topic, partition, at, until = account.topic, account.partition, account.from_offset, account.until_offset
            read = 0
            for block in self.kafka.read(account.range):
                batches.take(block, self.findings)
                read += len(block.offsets)
                self._remember_last(block)
                after = block.offsets[-1] + 1
                rows.compare(block, OffsetRange(topic, partition, at, after))
                self._pass(after - at)
                at = after
            if at < until:  # where a gap ends the range
                rows.compare(Block.empty(topic, partition), OffsetRange(topic, partition, at, until))
                self._pass(until - at)
            rows.close_account(account, read)
            were_read.append(account.range)
        rows.check_outside()
        if not rows.readable:
            self.files = engine.connect()
        return were_read

    def _pass(self, count: int) -> None:
        self._done += count
        self.tell(self._done)

    def _was_proven(self, entry: Entry) -> bool:
        """Whether a micro-batch whose records are gone from Kafka was verified while they were there, and is still what it was then."""
        owed = self.verified.owed_micro_batches.get(entry.micro_batch)
        # If only its files were damaged, checksums say whether they were put back: I8 compares them with the entry.
        return self.entries_are_verified and entry.micro_batch <= self.verified.micro_batch and (owed is None or owed.restorable)

    def _remember_last(self, block: Block) -> None:
        place = (block.topic, block.partition)
        if place not in self.last_records or self.last_records[place].offset < block.offsets[-1]:
            self.last_records[place] = LastRecord(
                topic=block.topic, partition=block.partition, offset=block.offsets[-1], fingerprint=record_fingerprint(block, -1)
            )

    def _check_mark(self) -> None:
        """What was verified must still be there, as it was."""
        if self.findings.any:
            return  # an entry is damaged, and that is told
        if self.verified.micro_batch < len(self.ledger) and not self.entries_are_verified:
            what = f"an entry of micro-batch 0 to {self.verified.micro_batch} is not what it was when it was verified; entries are final"
            self.findings.add(Invariant.FILES_EQUAL, what)
        if self.verified.micro_batch >= len(self.ledger):
            self.findings.add(
                Invariant.RANGES_JOIN,
                f"verify was green up to micro-batch {self.verified.micro_batch}, and the ledger ends at {len(self.ledger) - 1}: what came after was "
                "removed or rolled back. Put back what was removed; if ledger and checkpoint were put back together from a copy, the next ingest "
                "publishes the rest anew, as far as Kafka still has it",
            )

    def _check_topics(self, there: Readable) -> None:
        """The topics must be those of which the ledger tells, also where it has nothing left to prove by them."""
        if there.cluster is None or self.identity is None:
            return
        others = set()
        for topic, partition, what in unlike(self.identity, self._published(), there.cluster):
            message = f"{what}. If this is another Kafka than the one that was read from, name that one"
            self.findings.add(Invariant.BALANCE, message, topic=topic, partition=partition)
            others.add(topic)
        known = [last for last in self.verified.last_records if last.topic not in others]
        for last in check_last_records(self.kafka, there.cluster, known):
            self.findings.add(
                Invariant.BALANCE,
                f"offset {last.offset} holds another record than the one that was verified there: Kafka lost the end of this partition and it was "
                "filled anew. Records at offsets that were published before are in no file",
                topic=last.topic,
                partition=last.partition,
                from_offset=last.offset,
                until_offset=last.offset + 1,
            )

    def _lost(self, invariant: Invariant, offset_range: OffsetRange, why: str, **where: object) -> None:
        self.findings.add(
            invariant,
            f"never verified and can't be any more: {why}",
            unverifiable=True,
            topic=offset_range.topic,
            partition=offset_range.partition,
            from_offset=offset_range.from_offset,
            until_offset=offset_range.until_offset,
            **where,
        )

    def _published(self) -> Positions:
        """Where the ledger ends, as far as it joins."""
        at = self.identity.start if self.identity else {}
        for entry in self.ledger:
            try:
                at = advance(at, entry.ranges)
            except ValueError:
                break  # I5 tells it
        return at


@cache
def _versions() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES} | {"headrace": __version__, "python": platform.python_version()}
