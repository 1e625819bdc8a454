"""Check every invariant over a scope, and give the account of it."""

import platform
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from importlib.metadata import version
from typing import Any

import msgspec

from headrace import __version__
from headrace.contract.pipeline import Pipeline
from headrace.errors import LedgerError, MistakeError, SurroundingsError, UnsupportedLoginError
from headrace.kafka.cluster import Block, Cluster
from headrace.kafka.gaps import unexplained
from headrace.kafka.offsets import OffsetRange, Offsets, TopicPartition, merged, without
from headrace.ledger import verified_receipts
from headrace.ledger.checkpoint import logged
from headrace.ledger.entries import ENTRY_RULES, Account, Entry, Kind, Link, Totals, entry_path, newest_link, newest_number, read_link
from headrace.ledger.folder import Folder
from headrace.ledger.guard import TopicSnapshot, following, unlike
from headrace.ledger.identity import Identity, read_identity
from headrace.ledger.opening import check_last_records, record_fingerprint, starting_offsets, survey
from headrace.ledger.progress import (
    LastRecord,
    entry_sha256,
    is_of_another_checkpoint,
    published_runs,
    read_streamed,
    read_verified,
    stored_verified,
    unfinished,
)
from headrace.ledger.receipts import Receipt, ReceiptState, receipt_by_prefix, receipt_of, receipt_sha256, receipts
from headrace.settings import shown
from headrace.verify import engine, frontier, history, result
from headrace.verify.accepted import Accepted
from headrace.verify.batches import Batches, claims
from headrace.verify.chain import check_chain, readable_links
from headrace.verify.contents import Contents
from headrace.verify.files import check_empty, check_folder, check_listing, check_unnamed
from headrace.verify.findings import Findings, Invariant
from headrace.verify.groups import UNCOMPARABLE, Group, gaps_between, grouped, is_comparable, within
from headrace.verify.judge import Judge
from headrace.verify.limits import measured as limits_of
from headrace.verify.readable import Part, Readable
from headrace.verify.records import PublishedRows
from headrace.verify.resources import named
from headrace.verify.result import Hashes, Recheck, Report, State
from headrace.verify.scope import Scope
from headrace.verify.undeclared import Undeclared

PACKAGES = ("apache-airflow", "pyspark-client", "duckdb", "pyarrow", "confluent-kafka")
"""Named in each report. In a container pyspark itself is a part of Spark and no package; its client always is of the same version."""


class Verification:
    """One verify run over a pipeline's folder and cluster.

    The order in which it reads the world: what was verified, the checkpoint's commits, hashes of what is in the scope, the entries,
    identity.json, the receipts; then Kafka's topics; then the records; last, and only if offsets seem to be lost, the newest entry again.
    What is committed or verified by one look has its entry by the next, also while a stream runs.

    Args:
        number: of the report, drawn when the run began (`settle.draw_number`)
        ingest_is_running: whether an ingest is queued or running: then the lag is not judged
    """

    def __init__(
        self, folder: Folder, pipeline: Pipeline, kafka: Cluster, scope: Scope, number: int, *, ingest_is_running: bool = False
    ) -> None:
        self.folder = folder
        self.pipeline = pipeline
        self.kafka = kafka
        self.scope = scope
        self.number = number
        self.ingest_is_running = ingest_is_running or folder.is_being_written()
        self.findings = Findings()
        # Two, since an error within DuckDB, as a damaged file can cause one, may make a whole database unusable.
        self.judging, self.files = engine.connect(), engine.connect()
        self.verified = read_verified(folder)
        self.committed = logged(folder.checkpoint, "commits")
        # What changes from now on is noticed when the run is concluded.
        self.hashes = Hashes(
            entries={each: digest for each in scope.micro_batches if (digest := entry_sha256(folder, each))},
            receipts={run: digest for run in scope.receipts if (digest := receipt_sha256(folder, run))},
        )
        self.newest = newest_number(folder, near=max(self.verified.until, *scope.micro_batches, *logged(folder.checkpoint, "offsets"), -1))
        self.again = [] if scope.whole else history.share(self.verified, set(scope.micro_batches))
        self.links = readable_links(
            folder,
            self.newest,
            {
                *scope.micro_batches,
                *self.again,
                self.verified.until,
                *range(self.verified.until + 1, self.newest + 1),
                *self.verified.accepted,
            },
            self.findings,
        )
        self.accepted = Accepted(self.links)
        self.identity = read_identity(folder)
        named = (receipt_of(folder, run) for run in scope.receipts)
        self.receipts = list({receipt.run: receipt for receipt in (*receipts(folder), *named) if receipt}.values())
        self.undeclared = Undeclared(self.offset_count)
        self._done = 0
        self.tell: Callable[[int], None] = lambda _: None
        """Called again and again with the number of offsets that are done; for progress."""
        self.last_records: dict[TopicPartition, LastRecord] = {}
        self.aged_out: set[int] = set()
        """Micro-batches of which Kafka no longer holds all records; they were proven while it did."""
        self.gaps_not_checked: Counter[int] = Counter()
        self._removed_since: list[OffsetRange] = []
        """What compaction has removed of micro-batches since they were proven."""
        self.lost: list[OffsetRange] = []
        """Never published and gone from Kafka, and not accepted."""
        self.unproven: list[OffsetRange] = []
        """Published, aged out before they were verified, and not accepted."""
        self._accepted_receipts: set[str] = set()
        self._excused: dict[str, int] = defaultdict(int)
        """Of each batch that an acceptance settles in this run: how many offsets that it claims are gone at most."""

    @property
    def offset_count(self) -> int:
        """How many offsets its micro-batches cover."""
        return sum(len(each) for entry in self._chosen for each in entry.ranges)

    @property
    def _chosen(self) -> list[Entry]:
        return [self.links[number].entry for number in self.scope.micro_batches if number in self.links]

    @cached_property
    def _proven_receipts(self) -> dict[str, str]:
        """Run → SHA-256 of each verified receipt, of this ledger. Read only where a verified receipt is in the scope, or one has aged out."""
        return {} if is_of_another_checkpoint(self.folder) else verified_receipts.journaled(self.folder)

    @property
    def _last(self) -> Link | None:
        """The newest entry that can be read."""
        return self.links[max(self.links)] if self.links else None

    @property
    def _ends(self) -> Offsets:
        """Where the ledger ends, as far as it can be read."""
        return self._last.entry.offsets if self._last else Offsets()

    def run(self, run: str) -> Report:
        """Check everything; what does not hold is in the report, not raised.

        Raises `SurroundingsError` if the cluster does not answer, if a stream that is running decides what there is to say, or (`ResourceError`)
        if memory, open files or disk run out.
        """
        with named():
            return self._run(run)

    def _run(self, run: str) -> Report:
        began = datetime.now(UTC)
        chosen = self._chosen
        absent = set(self.scope.receipts) - {receipt.run for receipt in self.receipts if receipt.state == ReceiptState.COMPLETE}
        expired = {run_id for run_id in absent if verified_receipts.has_expired(self.folder, run_id)}
        for run_id in sorted(absent - expired):
            self.findings.add(
                Invariant.RECEIPTS_LANDED, f"run {run_id}: its receipt was there, complete, and is not any more", receipt=run_id
            )
        if expired or self.scope.has_expired:
            self.findings.not_checked(Invariant.RECEIPTS_LANDED)
        altered = {
            run_id
            for run_id, digest in self.hashes.receipts.items()
            if self.folder.is_verified(run_id) and self._proven_receipts.get(run_id, digest) != digest
        }
        for run_id in sorted(altered):
            self.findings.add(Invariant.RECEIPTS_LANDED, f"run {run_id}: its receipt has changed since it was verified", receipt=run_id)
        for gone in self.scope.micro_batches:
            if gone > self.newest:  # one before is missing in the listing
                self.findings.add(Invariant.RANGES_JOIN, "the micro-batch was there before and is missing now", micro_batch=gone)
        self._check_mark()
        check_listing(self.folder, self.newest, self.findings)
        looked_at = {*self.scope.micro_batches, *self.again}
        check_chain(self.folder, self.identity, self.links, looked_at, self.committed, self.newest, self.findings)
        self._check_files(chosen)
        batches = Batches(self.receipts, self.scope.receipts, partial(receipt_by_prefix, self.folder), self._published_by, altered)
        there = self._survey()
        unreadable = self._read_all(chosen, batches, there)
        batches.check(self.identity.start if self.identity else Offsets(), self._ends, unreadable, self._excused, self.findings)
        waiting = self._check_frontier(there)
        measured = self._check_limits(waiting, began)

        contents = Contents.of(self.folder, chosen, self.accepted, self.files, damaged=self.findings.any)
        published = published_runs(self.folder) | set(self.scope.receipts)
        accounts = batches.accounts(
            self.findings, unreadable, self._accepted_receipts, [receipt for receipt in self.receipts if receipt.run not in published]
        )
        newest = self.links.get(self.newest)
        totals = newest.entry.totals if newest else Totals()
        accepted = self.accepted.told(self.scope.micro_batches)
        return Report(
            number=self.number,
            seen=max(self.number, stored_verified(self.folder).number),
            pipeline=self.pipeline.name,
            description=self.pipeline.description,
            run=run,
            state=State.RED if self.findings.any else State.GREEN,
            checked_at=began,
            seconds=(datetime.now(UTC) - began).total_seconds(),
            versions=_versions(),
            balance=contents.balance,
            receipts=accounts,
            invariants=self.findings.invariants(),
            recheck=Recheck(
                micro_batches=self._published(self.findings.micro_batches),
                restorable=self._published(self.findings.restorable),
                receipts=sorted(self.findings.receipts),
                everything=self.findings.doubts_everything,
            ),
            waiting=waiting,
            limits=measured,
            gaps_not_checked=self._unchecked_gaps(),
            gaps_not_checked_of=dict(self.gaps_not_checked),
            published_meanwhile=self._published_meanwhile if self.scope.moves else 0,
            history=history.account(self.verified, self.again, self.scope, began),
            last_records=[self.last_records[place] for place in sorted(self.last_records)],
            hashes=self.hashes,
            quarantine=contents.quarantine,
            undeclared=self.undeclared.account,
            kept_per_minute=contents.kept_per_minute,
            samples=contents.samples,
            micro_batches=contents.micro_batches,
            accepted=accepted,
            settled={
                entry.number: by
                for entry in chosen
                if not self._was_proven(entry) and (by := self.accepted.settling(entry.ranges)) is not None
            },
            aged_out=sorted(self.aged_out),
            ever=result.Totals(
                micro_batches=self.newest + 1,
                **msgspec.structs.asdict(totals),
                lost=sum(each.lost for each in accepted),
                unproven=sum(each.unproven for each in accepted),
            ),
            events=shown(self.folder.events),
            quarantined_records=shown(self.folder.quarantine),
        )

    def _unchecked_gaps(self) -> int:
        """Gaps of all that is published that could not be checked: those of micro-batches that this run judged are what it found."""
        looked_at = self.hashes.entries.keys() - self.aged_out
        known = sum(gaps for number, gaps in self.verified.gaps_not_checked.items() if number not in looked_at)
        return known + self.gaps_not_checked.total()

    @cached_property
    def _published_meanwhile(self) -> int:
        """How many micro-batches are there now that are neither proven nor in the scope."""
        newest = newest_number(self.folder, near=self.newest)
        new = set(range(self.verified.until + 1, newest + 1)) - set(self.scope.micro_batches)
        return sum(entry_path(self.folder, number).exists() for number in new)

    @cached_property
    def _accounts(self) -> dict[TopicPartition, list[tuple[int, int, int]]]:
        """Per topic-partition the chosen ranges in order, each with the number of its micro-batch."""
        found: dict[TopicPartition, list[tuple[int, int, int]]] = defaultdict(list)
        for entry in self._chosen:
            for each in entry.ranges:
                found[each.place].append((each.from_offset, each.until_offset, entry.number))
        return {place: sorted(ranges) for place, ranges in found.items()}

    def _published_by(self, place: TopicPartition, offset: int) -> int | None:
        """The micro-batch in the scope that published an offset."""
        ranges = self._accounts.get(place, [])
        at = bisect_right(ranges, offset, key=lambda each: each[0]) - 1
        return ranges[at][2] if at >= 0 and offset < ranges[at][1] else None

    def _published(self, numbers: Collection[int]) -> list[int]:
        """Those that were published or looked at: what lies behind the ledger is found again as long as it is there."""
        return sorted(number for number in numbers if number <= self.newest or number in self.scope.micro_batches)

    def _check_files(self, chosen: Sequence[Entry]) -> None:
        if self.identity is not None:
            check_empty(self.folder, self.identity.contract, self.findings)
        for entry in chosen:
            check_folder(self.folder, entry, self.findings, whole=True)
        for number in self.again:
            if number in self.links:
                check_folder(self.folder, self.links[number].entry, self.findings, whole=False)
        for number in {*self.scope.micro_batches, *self.again} - self.links.keys():
            if not entry_path(self.folder, number).exists():
                check_unnamed(self.folder, number, self.findings)

    def _survey(self) -> TopicSnapshot:
        """The topics of the pipeline file, and those that ledger and receipts are about."""
        names = {topic.name for topic in self.pipeline.topics} | (self.identity.topics.keys() if self.identity else set())
        names |= {landing.topic for receipt in self.receipts for landing in receipt.landings}
        return survey(self.kafka, sorted(names))

    def _read_all(self, chosen: list[Entry], batches: Batches, topics: TopicSnapshot) -> set[str]:
        """Judge the chosen micro-batches again and read back the batches in the scope; returns the runs that can't be read back in full."""
        there = Readable(topics, self.identity)
        self._check_topics(topics)
        covered = [offset_range for group in grouped(chosen) for offset_range in self._judge_group(group, there, batches)]
        for topic in sorted(set(self.identity.topics).intersection(topics.compacted)) if self.identity else ():
            what = "the topic is compacted (cleanup.policy): Kafka removes records from it by their keys"
            self.findings.add(Invariant.BALANCE, what, topic=topic)
        return self._read_batches(there, covered, batches)

    def _read_batches(self, there: Readable, covered: list[OffsetRange], batches: Batches) -> set[str]:
        """Read back the batches in the scope; returns the runs that can't be read back in full.

        covered  ranges whose records were counted before
        """
        unreadable = set()
        rest: dict[TopicPartition, list[OffsetRange]] = defaultdict(list)
        wanted = set(self.scope.receipts)
        chosen = [receipt for receipt in self.receipts if receipt.run in wanted]
        proven = {run for run in wanted if self._proven_receipts.get(run, "") == self.hashes.receipts.get(run)}
        for receipt, claimed in ((each, claimed) for each in chosen for claimed in claims(each)):
            still = there.part(claimed)
            if still.missing:
                unreadable.add(receipt.run)
                left = self.accepted.rest(still.missing)
                if left != [still.missing]:
                    self._accepted_receipts.add(receipt.run)
                    self._excused[receipt.run] += len(still.missing)
                    rest[claimed.place] += filter(None, [still.readable])
                if receipt.run not in proven:
                    self._report_unproven(Invariant.RECEIPTS_LANDED, left, there, still.why, receipt=receipt.run)
            else:
                wider = claimed if receipt.run in proven else _from_start(receipt, claimed, there)
                rest[claimed.place].append(wider)
        for hole in (hole for ranges in rest.values() for hole in merged(ranges)):
            for offset_range in without(hole, covered):
                self._read_back(offset_range, batches)
        for receipt in chosen:
            if receipt.run in proven and any(claimed.overlaps(each) for claimed in claims(receipt) for each in self._removed_since):
                unreadable.add(receipt.run)
        return unreadable | self._settled_with_lost(chosen, proven, there)

    def _settled_with_lost(self, chosen: Iterable[Receipt], proven: Collection[str], there: Readable) -> set[str]:
        """The runs of whose claims something was accepted as lost."""
        settled = set()
        for receipt in chosen:
            if any(map(self.accepted.has_lost, claims(receipt))):
                settled.add(receipt.run)
                parts = (there.part(each).readable for each in claims(receipt))
                self._excused[receipt.run] += sum(self.accepted.lost_of(part) for part in parts if part)
        self._accepted_receipts |= settled
        for run in proven:
            self._excused.pop(run, None)  # Kafka may have removed more of it since
        return settled

    def _read_back(self, offset_range: OffsetRange, batches: Batches) -> None:
        """Count the records of a range that no micro-batch in the scope covers."""
        gaps: list[OffsetRange] = []
        at = offset_range.from_offset
        for block in self.kafka.read(offset_range):
            batches.take(block, self.findings)
            span = OffsetRange(*offset_range.place, at, block.offsets[-1] + 1)
            gaps += gaps_between(span, block.offsets)
            at = span.until_offset
        if at < offset_range.until_offset:
            gaps.append(OffsetRange(*offset_range.place, at, offset_range.until_offset))
        self._removed_since += self._removed(gaps, {})

    def _judge_group(self, entries: list[Entry], there: Readable, batches: Batches) -> list[OffsetRange]:
        """Judge micro-batches' records again, all at once where they can be; returns the ranges that could be read.

        What is not exactly as it should be is judged once more, each micro-batch on its own, and only that says what is wrong.
        """
        try:
            group = (
                Group(self.folder, entries, there, Judge(entries[0].contract, self.judging, self.undeclared))
                if is_comparable(entries[0])
                else None
            )
        except (MistakeError, *UNCOMPARABLE):
            group = None
        if group is None:
            return [offset_range for entry in entries for offset_range in self._judge_again(entry, there, batches)]
        self._pass(sum(len(share.part.missing) for shares in group.shares.values() for share in shares if share.part.missing))
        for readable in group.readable:
            for block, span in self._blocks(readable, batches):
                group.compare(block, span)
        removed = {
            place: self._removed([gap for gaps in of_place.values() for gap in gaps], _lengths(of_place))
            for place, of_place in group.gaps.items()
        }
        for entry in entries:
            if entry.number in group.doubted:
                self._judge_again(entry, there, None)
            else:
                self._close(entry, group, removed, there)
        return group.readable

    def _close(self, entry: Entry, group: Group, removed: dict[TopicPartition, list[OffsetRange]], there: Readable) -> None:
        """Account for a micro-batch whose rows are what they should be.

        removed  topic-partition → the group's offsets that hold no record and that no transaction explains
        """
        shares = group.shares[entry.number]
        for share in shares:
            self._report_missing(entry, share.part, there)
        gone = [
            each for share in shares if share.part.readable for each in within(removed.get(share.account.place, []), share.account.range)
        ]
        if self._is_removed(entry, gaps := [gap for share in shares for gap in share.gaps], gone):
            self._pass_over(entry, gaps)
            return
        for share in shares:
            if share.part.readable:
                group.close(share, self.findings)
        self._report_removed(gone, entry, gaps)

    def _judge_again(self, entry: Entry, there: Readable, batches: Batches | None) -> list[OffsetRange]:
        """Judge a micro-batch's records again; returns the ranges that could be read.

        batches  take the records; `None` if these were read, and counted, before
        """
        if entry.kind is not Kind.PUBLISHED:
            self._check_accepted(entry, there)
            return []
        if entry.rules not in ENTRY_RULES:
            self._leave_unjudged(entry)
            return []
        was_explained = self._was_explained(entry)
        absent = Findings() if was_explained else self.findings
        try:
            judge = Judge(entry.contract, self.judging, None if batches is None else self.undeclared)
            rows = PublishedRows(self.folder, entry, self.files, judge, self.findings, absent)
        except MistakeError as error:
            message = f"the entry's filter can't be read, so that nothing was judged by it: {str(error).partition(chr(10))[0]}"
            self.findings.add(Invariant.FILES_EQUAL, message, micro_batch=entry.number)
            return []
        if any(rows.gone.values()) and not self.findings.has(Invariant.FILES_EQUAL):
            self.findings.add(Invariant.FILES_EQUAL, "a file disappeared during the check", micro_batch=entry.number)
        were_read, gaps = self._compare(entry, there, rows, batches)
        if not rows.readable:
            self.files = engine.connect()
        removed = [each for of_place in gaps.values() for each in self._removed(of_place, _lengths({entry.number: of_place}))]
        if self._is_removed(entry, all_gaps := [gap for of_place in gaps.values() for gap in of_place], removed):
            self._pass_over(entry, all_gaps)
            return were_read
        if was_explained:
            self.findings.take(absent)
        self._report_removed(removed, entry, all_gaps)
        return were_read

    def _compare(
        self, entry: Entry, there: Readable, rows: PublishedRows, batches: Batches | None
    ) -> tuple[list[OffsetRange], dict[TopicPartition, list[OffsetRange]]]:
        """Compare a micro-batch's rows with Kafka's records; returns the ranges that could be read, and per topic-partition the gaps in them."""
        were_read: list[OffsetRange] = []
        gaps: dict[TopicPartition, list[OffsetRange]] = defaultdict(list)
        for account in entry.accounts:
            still = there.part(account.range)
            if still.missing:
                self._report_missing(entry, still, there)
                if batches is not None:
                    self._pass(len(still.missing))
            if still.readable:
                gaps[account.place] += self._judge_range(account, still.readable, still.missing, rows, batches)
                were_read.append(still.readable)
        rows.check_outside()
        return were_read, gaps

    def _is_removed(self, entry: Entry, gaps: list[OffsetRange], removed: list[OffsetRange]) -> bool:
        """Whether Kafka removed records that were there when the micro-batch was proven: it has gaps that were none then, or nothing explains them."""
        return self._was_explained(entry) and (bool(removed) or sum(map(len, gaps)) > entry.total("gaps"))

    def _pass_over(self, entry: Entry, gaps: list[OffsetRange]) -> None:
        """What compaction has left of a proven micro-batch says nothing about the rows whose records are gone."""
        self.aged_out.add(entry.number)
        self.gaps_not_checked.pop(entry.number, None)
        self._removed_since += gaps

    def _judge_range(
        self, account: Account, readable: OffsetRange, missing: OffsetRange | None, rows: PublishedRows, batches: Batches | None
    ) -> list[OffsetRange]:
        """Compare the rows of a range with its records; returns the offsets that hold no record."""
        read = 0
        gaps: list[OffsetRange] = []
        for block, span in self._blocks(readable, batches):
            read += len(block.offsets)
            gaps += gaps_between(span, block.offsets)
            rows.compare(block, span)
        rows.close_account(account, read, missing)
        return gaps

    def _blocks(self, readable: OffsetRange, batches: Batches | None) -> Iterator[tuple[Block, OffsetRange]]:
        """The records of a range in blocks, each with the span of offsets whose records it holds. The spans join to the range.

        batches  take the records; `None` if these were counted before
        """
        at, until = readable.from_offset, readable.until_offset
        for block in self.kafka.read(readable):
            if batches is not None:
                batches.take(block, self.findings)
                self._remember_last(block)
            span = OffsetRange(*readable.place, at, block.offsets[-1] + 1)
            yield block, span
            at = span.until_offset
            if batches is not None:
                self._pass(len(span))
        if at < until:  # where a gap ends the range
            yield Block.empty(readable.place), OffsetRange(*readable.place, at, until)
            if batches is not None:
                self._pass(until - at)

    def _removed(self, gaps: list[OffsetRange], unchecked: Mapping[int, int]) -> list[OffsetRange]:
        """The offsets of these, all of one topic-partition, that are neither a transaction's marker nor a record that was aborted.

        unchecked  how many of them are in which micro-batch, to be counted as not checked if Kafka can't be asked
        """
        if not gaps:
            return []
        place = gaps[0].place
        try:
            removed = self._unexplained(gaps)
            if removed:  # a leader that is new may not know yet how far its log is complete; once it tells the end, it does
                self.kafka.end([place.topic], committed=False)
                removed = self._unexplained(removed)
        except UnsupportedLoginError:
            self.gaps_not_checked.update(unchecked)
            self.findings.not_checked(Invariant.BALANCE)
            return []
        earliest = self.kafka.earliest([place.topic]).get(place) if removed else None
        if removed and (earliest is None or earliest > removed[0].from_offset):
            raise SurroundingsError(f"{removed[0]} left Kafka while verify was reading it. Run verify again.")
        return self.accepted.not_lost(removed)

    def _unexplained(self, gaps: list[OffsetRange]) -> list[OffsetRange]:
        return unexplained(gaps, lambda offset: self.kafka.record_batches(gaps[0].place, offset))

    def _report_removed(self, removed: Iterable[OffsetRange], entry: Entry, gaps: Iterable[OffsetRange]) -> None:
        """I6: each offset without a committed record is a transaction's marker, or a record that was aborted.

        gaps  all offsets of the entry without one; where it accounts for fewer, records left Kafka that it published: those are not lost
        """
        is_lost = sum(map(len, gaps)) <= entry.total("gaps")
        for each in removed:
            self.lost += [each] if is_lost else []
            message = "removed by Kafka (compaction or damage): no transaction explains why there is no record"
            self.findings.add_range(Invariant.BALANCE, message, each, micro_batch=entry.number)

    def _leave_unjudged(self, entry: Entry) -> None:
        """An entry is judged by its own rules or not at all: proven once, it stays proven; else it can't be green."""
        if self._was_proven(entry):
            self.findings.not_checked(Invariant.VERDICTS_EQUAL)
            return
        message = f"judged by version {entry.rules} of the rules, which this version of Headrace does not know: verify it with the version that wrote it"
        self.findings.add(Invariant.VERDICTS_EQUAL, message, micro_batch=entry.number)

    def _report_missing(self, entry: Entry, part: Part, there: Readable) -> None:
        """What Kafka no longer has was proven while it did, or accepted, or can't be any more."""
        if part.missing is None:
            return
        rest = self.accepted.rest(part.missing)
        if self._was_proven(entry):
            if rest:
                self.aged_out.add(entry.number)
        else:
            self._report_unproven(Invariant.VERDICTS_EQUAL, rest, there, part.why, micro_batch=entry.number)

    def _check_accepted(self, entry: Entry, there: Readable) -> None:
        """Kafka must not hold what was accepted as lost behind the ledger's end: no stream would ever read it. The chain (I5) has all else."""
        for each in self.accepted.moved(entry):
            if still := there.part(each).readable:
                message = "accepted as lost, and still in Kafka: no stream reads it"
                self.findings.add_range(Invariant.FRONTIER, message, still, micro_batch=entry.number)

    def _pass(self, count: int) -> None:
        self._done += count
        self.tell(self._done)

    def _was_proven(self, entry: Entry) -> bool:
        """Whether a micro-batch whose records are gone from Kafka was proven while they were there, and is still what it was then."""
        if entry.number > self.verified.until or self.findings.has(Invariant.RANGES_JOIN, entry.number):
            return False
        recheck = self.verified.recheck.get(entry.number)
        # If only its files were damaged, checksums say whether they were put back: I8 compares them with the entry.
        return recheck is None or (recheck.proven and recheck.restorable)

    def _was_explained(self, entry: Entry) -> bool:
        """Whether a micro-batch was proven, and each of its gaps explained: what Kafka does not have now, it has removed since."""
        return self._was_proven(entry) and entry.number not in self.verified.gaps_not_checked

    def _remember_last(self, block: Block) -> None:
        place = block.place
        if place not in self.last_records or self.last_records[place].offset < block.offsets[-1]:
            self.last_records[place] = LastRecord(
                topic=block.topic, partition=block.partition, offset=block.offsets[-1], fingerprint=record_fingerprint(block, -1)
            )

    def _check_mark(self) -> None:
        """What was proven must still be there, as it was."""
        mark = self.verified.mark
        if mark is None:
            return
        if mark.number > self.newest:
            self.findings.add(
                Invariant.RANGES_JOIN,
                f"verify has proven micro-batches up to {mark.number}, and the ledger ends at {self.newest}: what came after was "
                "removed or rolled back. Put back what was removed; if ledger and checkpoint were put back together from a copy, the next ingest "
                "publishes the rest again, as far as Kafka still has it",
            )
        elif mark.number in self.links and self.links[mark.number].sha256 != mark.sha256:
            self.findings.add(
                Invariant.RANGES_JOIN,
                f"the entry of micro-batch {mark.number} has changed since it was verified; entries never change",
                micro_batch=mark.number,
            )

    def _check_topics(self, topics: TopicSnapshot) -> None:
        """The topics must be the ledger's own, even if nothing is left to verify against them."""
        if self.identity is None:
            return
        others = set()
        for topic, partition, what in unlike(self.identity, self._ends, topics):
            message = f"{what}. If this is another Kafka than the one that was read from, name that one"
            self.findings.add(Invariant.BALANCE, message, topic=topic, partition=partition, doubts_everything=True)
            others.add(topic)
        known = [last for last in self.verified.last_records if last.topic not in others]
        for last in check_last_records(self.kafka, topics, known):
            self.findings.add(
                Invariant.BALANCE,
                f"offset {last.offset} holds another record than the one that was verified there: Kafka lost the end of this partition and it was "
                "filled again. Records at offsets that were published before are in no file",
                topic=last.topic,
                partition=last.partition,
                from_offset=last.offset,
                until_offset=last.offset + 1,
                doubts_everything=True,
            )

    def _check_frontier(self, there: TopicSnapshot) -> result.Waiting:
        """I9: nothing after the ledger's end left Kafka unread; what waits is counted."""
        topics = there.of(self._known_topics(there))
        self.findings.checked[Invariant.FRONTIER] += len(topics.last)
        if self.identity is None:  # no stream ever ran: only what a producer can prove to have sent can be lost
            found = frontier.frontier(topics, starting_offsets(self.pipeline, self.kafka, topics))
            lost = frontier.lost_of_receipts(self.receipts, topics)
        else:
            self._check_first_stream()
            ends = following(self.identity, self._last)
            found = frontier.frontier(topics, ends)
            left = self._lost(topics, self.identity) if found.lost and self.newest in {-1, *self.links} else []
            self.lost += left
            lost = [("", each) for each in left]
            lost += frontier.lost_of_receipts(self.receipts, topics, ends, known=self.identity.topics)
        for run, each in lost:
            message = f"offsets {each.from_offset} to {each.until_offset - 1}{f' of run {run}' if run else ''} left Kafka before a stream read them: they are lost"
            self.findings.add_range(Invariant.FRONTIER, message, each)
        last = None if self.folder.is_being_written() else unfinished(self.folder)
        return msgspec.structs.replace(
            frontier.waiting(self.kafka, topics, found.waiting, self._waiting_since()),
            unfinished=last.run if last else None,
            before_any_stream=self.identity is None,
        )

    def _waiting_since(self) -> datetime | None:
        """The longest that a record which committed readers could see can have waited: since the last complete stream, or the first, began."""
        if streamed := read_streamed(self.folder):
            return streamed.started_at
        try:
            first = read_link(self.folder, 0).entry if self.newest >= 0 else None
        except LedgerError:
            return None
        return first.planned_at if first and first.kind is Kind.PUBLISHED else None

    def _check_first_stream(self) -> None:
        """A stream that began must have published something, or be about to."""
        is_written = self.folder.is_being_written()  # before the folder is looked at again
        if self.newest >= 0 or self.committed or newest_number(self.folder) >= 0:
            return
        if is_written:
            self._leave_it_to_the_stream("A stream is running its first micro-batch")
            return
        last = unfinished(self.folder)
        what = f"the last stream ({last.run}) did not finish" if last else "though a stream ran"
        self.findings.add(Invariant.FRONTIER, f"nothing was published: {what}")

    def _check_limits(self, waiting: result.Waiting, began: datetime) -> list[result.Limit]:
        """I10: the pipeline's own limits hold."""
        is_running = self.ingest_is_running or self.folder.is_being_written() or self._published_meanwhile > 0
        limits = self.pipeline.limits
        measured = limits_of(limits, self.folder, self.newest, self.scope.micro_batches, waiting, began, ingest_is_running=is_running)
        self.findings.checked[Invariant.LIMITS] += len(measured)
        for limit in measured:
            if not limit.holds:
                self.findings.add(Invariant.LIMITS, f"{limit.name}: {limit.shown}; the limit is {limit.allowed}")
        return measured

    def _lost(self, topics: TopicSnapshot, identity: Identity) -> list[OffsetRange]:
        """What is lost for sure: a stream may have published it since the ledger was read, and may be about to."""
        is_written = self.folder.is_being_written()
        try:
            newest = newest_link(self.folder)
        except LedgerError:
            newest = self._last  # I5 or I8 says what is wrong with it
        lost = frontier.frontier(topics, following(identity, newest)).lost
        if lost and is_written:
            self._leave_it_to_the_stream(f"{lost[0]} has left Kafka, and a stream is running that may have read it before")
            return []
        return lost

    def _leave_it_to_the_stream(self, what: str) -> None:
        """Raise `SurroundingsError`, since a stream decides what there is to say; where something else is red, the next run says it."""
        if not self.findings.any:
            raise SurroundingsError(f"{what}. Run verify again when it has ended.")

    def _known_topics(self, topics: TopicSnapshot) -> list[str]:
        """The topics that are those of the ledger, or new to it."""
        known = self.identity.topics if self.identity else {}
        return [topic for topic, found in topics.ids.items() if known.get(topic, found) == found]

    def _report_unproven(self, invariant: Invariant, ranges: Iterable[OffsetRange], there: Readable, why: str, **where: Any) -> None:
        for each in ranges:
            if there.has_aged_out(each):
                self.unproven.append(each)
            self.findings.add_range(invariant, f"never verified and can't be any more: {why}", each, unverifiable=True, **where)


def _lengths(gaps: Mapping[int, Sequence[OffsetRange]]) -> dict[int, int]:
    """Offsets per micro-batch."""
    return {number: sum(map(len, of_one)) for number, of_one in gaps.items()}


def _from_start(receipt: Receipt, claimed: OffsetRange, there: Readable) -> OffsetRange:
    """What a receipt claims, and what lies before it since its producer began: a try that was killed may have sent a record more."""
    start, earliest = receipt.start.get(claimed.place, claimed.from_offset), there.topics.earliest[claimed.place]
    return OffsetRange(*claimed.place, min(max(start, earliest), claimed.from_offset), claimed.until_offset)


@cache
def _versions() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES} | {"headrace": __version__, "python": platform.python_version()}
