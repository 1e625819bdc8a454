"""Every micro-batch in the scope of a verify run, read from Kafka and judged again.

One pass in one file: groups of micro-batches first, then each that they leave in doubt.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from headrace.errors import UsageError
from headrace.kafka.client import Kafka
from headrace.kafka.cluster import Block, Cluster
from headrace.kafka.offsets import OffsetRange, TopicPartition, gaps_between, merged, within
from headrace.ledger.entry import ENTRY_RULES, Account, Entry, EntryKind
from headrace.ledger.progress import LastRecord
from headrace.verify import engine
from headrace.verify.batches import Batches, of_batches
from headrace.verify.checks.balance import Gaps
from headrace.verify.checks.files import FILES
from headrace.verify.checks.frontier import FRONTIER
from headrace.verify.checks.ranges import RANGES
from headrace.verify.checks.verdicts import VERDICTS, leave_unjudged
from headrace.verify.findings import Findings
from headrace.verify.grouping import grouped, is_comparable
from headrace.verify.groups import UNCOMPARABLE, Group
from headrace.verify.judge import Judge
from headrace.verify.readable import Readable, Split
from headrace.verify.records import PublishedRows
from headrace.verify.snapshot import Snapshot
from headrace.verify.undeclared import Undeclared
from headrace.verify.workers import Workers, spans


class Judging:
    """Judges the records of micro-batches again, and holds them against the published rows.

    I2, I4, I6 and I7.

    Args:
        snapshot: The folder.
        kafka: The cluster.
        there: What it can still be asked for.
        gaps: Looks into offsets without a record.
        findings: Takes what does not hold.
        on_progress: Called again and again with the number of offsets that are done.

    Attributes:
        undeclared: Fields that records have and the pipeline does not declare.
        last_records: Per topic-partition, the last record that was read.
        aged_out: Micro-batches of which Kafka no longer holds all records; they were proven while it did.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        kafka: Cluster,
        there: Readable,
        gaps: Gaps,
        findings: Findings,
        on_progress: Callable[[int], None],
    ) -> None:
        self.snapshot = snapshot
        self.kafka = kafka
        self.there = there
        self.gaps = gaps
        self.findings = findings
        self.on_progress = on_progress
        # Two, since an error within DuckDB, as a damaged file can cause one, may make a whole database
        # unusable.
        self.judging, self.files = engine.connect(), engine.connect()
        self.undeclared = Undeclared(sum(len(each) for entry in snapshot.chosen for each in entry.ranges))
        self.last_records: dict[TopicPartition, LastRecord] = {}
        self.aged_out: set[int] = set()
        self.workers = Workers(snapshot.folder.root, kafka.config if isinstance(kafka, Kafka) else None)
        self._done = 0

    def judge(self, batches: Batches) -> list[OffsetRange]:
        """Judge the chosen micro-batches; returns the ranges that could be read.

        Args:
            batches: Take the records.
        """
        with self.workers:
            return [
                offset_range
                for group in grouped(self.snapshot.chosen)
                for offset_range in self._judge_group(group, batches)
            ]

    def _judge_group(self, entries: list[Entry], batches: Batches) -> list[OffsetRange]:
        """Judge micro-batches' records again, all at once where they can be.

        Returns the ranges that could be read.

        What is not exactly as it should be is judged once more, each micro-batch on its own, and only that
        says what is wrong.
        """
        try:
            group = (
                Group(
                    self.snapshot.folder,
                    entries,
                    self.there,
                    Judge(entries[0].contract, self.judging, self.undeclared),
                )
                if is_comparable(entries[0])
                else None
            )
        except (UsageError, *UNCOMPARABLE):
            group = None
        if group is None:
            return [offset_range for entry in entries for offset_range in self._judge_again(entry, batches)]
        self._pass(
            sum(
                len(share.part.missing)
                for shares in group.shares.values()
                for share in shares
                if share.part.missing
            )
        )
        for readable in group.readable:
            for block, span in self._blocks(readable, batches):
                group.compare(block, span)
        removed = {
            place: self.gaps.removed([gap for gaps in of_place.values() for gap in gaps], _lengths(of_place))
            for place, of_place in group.gaps.items()
        }
        for entry in entries:
            if entry.number in group.doubted:
                self._judge_again(entry, None)
            else:
                self._close(entry, group, removed)
        return group.readable

    def _close(self, entry: Entry, group: Group, removed: dict[TopicPartition, list[OffsetRange]]) -> None:
        """Account for a micro-batch whose rows are what they should be.

        Args:
            removed: Topic-partition → the group's offsets that hold no record and that no transaction
                explains.
        """
        shares = group.shares[entry.number]
        for share in shares:
            self._report_missing(entry, share.part)
        gone = [
            each
            for share in shares
            if share.part.readable
            for each in within(removed.get(share.account.place, []), share.account.range)
        ]
        if self._is_removed(entry, gaps := [gap for share in shares for gap in share.gaps], gone):
            self._pass_over(entry, gaps)
            return
        for share in shares:
            if share.part.readable:
                group.close(share, self.findings)
        self.gaps.report(gone, entry, gaps)

    def _judge_again(self, entry: Entry, batches: Batches | None) -> list[OffsetRange]:
        """Judge a micro-batch's records again; returns the ranges that could be read.

        Args:
            batches: Take the records; `None` if these were read, and counted, before.
        """
        if entry.kind is not EntryKind.PUBLISHED:
            self._check_accepted(entry)
            return []
        if entry.rules not in ENTRY_RULES:
            leave_unjudged(entry, self.findings, was_proven=self.was_proven(entry))
            return []
        was_explained = self._was_explained(entry)
        absent = Findings() if was_explained else self.findings
        try:
            judge = Judge(entry.contract, self.judging, None if batches is None else self.undeclared)
            rows = PublishedRows(self.snapshot.folder, entry, self.files, judge, self.findings, absent)
        except UsageError as error:
            message = f"the entry's filter can't be read, so that nothing was judged by it: {str(error).partition(chr(10))[0]}"
            self.findings.add(FILES, message, micro_batch=entry.number)
            return []
        if any(rows.gone.values()) and not self.findings.has(FILES):
            self.findings.add(FILES, "a file disappeared during the check", micro_batch=entry.number)
        were_read, gaps = self._compare(entry, rows, batches)
        if not rows.readable:
            self.files = engine.connect()
        removed = [
            each
            for of_place in gaps.values()
            for each in self.gaps.removed(of_place, _lengths({entry.number: of_place}))
        ]
        if self._is_removed(
            entry, all_gaps := [gap for of_place in gaps.values() for gap in of_place], removed
        ):
            self._pass_over(entry, all_gaps)
            return were_read
        if was_explained:
            self.findings.take(absent)
        self.gaps.report(removed, entry, all_gaps)
        return were_read

    def _compare(
        self, entry: Entry, rows: PublishedRows, batches: Batches | None
    ) -> tuple[list[OffsetRange], dict[TopicPartition, list[OffsetRange]]]:
        """Compare a micro-batch's rows with Kafka's records.

        Returns the ranges that could be read, and per topic-partition the gaps in them.
        """
        were_read: list[OffsetRange] = []
        gaps: dict[TopicPartition, list[OffsetRange]] = defaultdict(list)
        for account in entry.accounts:
            still = self.there.part(account.range)
            if still.missing:
                self._report_missing(entry, still)
                if batches is not None:
                    self._pass(len(still.missing))
            if still.readable:
                gaps[account.place] += self._judge_range(
                    account, still.readable, still.missing, rows, batches
                )
                were_read.append(still.readable)
        rows.check_outside()
        return were_read, gaps

    def _is_removed(self, entry: Entry, gaps: list[OffsetRange], removed: list[OffsetRange]) -> bool:
        """Whether Kafka removed records that were there when the micro-batch was proven.

        It has gaps that were none then, or nothing explains them.
        """
        return self._was_explained(entry) and (bool(removed) or sum(map(len, gaps)) > entry.total("gaps"))

    def _pass_over(self, entry: Entry, gaps: list[OffsetRange]) -> None:
        """What compaction left of a proven micro-batch says nothing about the rows whose records are gone."""
        self.aged_out.add(entry.number)
        self.gaps.unchecked.pop(entry.number, None)
        self.gaps.removed_since += gaps

    def _judge_range(
        self,
        account: Account,
        readable: OffsetRange,
        missing: OffsetRange | None,
        rows: PublishedRows,
        batches: Batches | None,
    ) -> list[OffsetRange]:
        """Compare the rows of a range with its records; returns the offsets that hold no record."""
        gaps: list[OffsetRange] = []
        can_divide = batches and not any(rows.gone.values())
        proven = self.workers.prove(rows.entry, readable, self.undeclared) if can_divide else None
        if batches and proven:
            read = sum(part.records for part in proven)
            for part in proven:
                rows.take(readable.place, part.judged)
                gaps += part.gaps
                batches.take(readable.place, part.of_batches)
                self.undeclared.add(part.sample)
                self._remember_last(part.last)
                self._pass(len(part.span))
            gaps = merged(gaps)
        else:
            read = 0
            for block, span in self._blocks(readable, batches):
                read += len(block.offsets)
                gaps += gaps_between(span, block.offsets)
                rows.compare(block, span)
        rows.close_account(account, read, missing)
        return gaps

    def _blocks(self, readable: OffsetRange, batches: Batches | None) -> Iterator[tuple[Block, OffsetRange]]:
        """The records of a range in blocks, as `spans` has them.

        Args:
            batches: Take the records; `None` if these were counted before.
        """
        for block, span in spans(readable, self.kafka.read(readable)):
            if batches is not None and block.offsets:
                batches.take(block.place, of_batches(block))
                self._remember_last(LastRecord.of(block))
            yield block, span
            if batches is not None:
                self._pass(len(span))

    def _report_missing(self, entry: Entry, part: Split) -> None:
        """What Kafka no longer has was proven while it did, or accepted, or can't be any more."""
        if part.missing is None:
            return
        rest = self.snapshot.accepted.rest(part.missing)
        if self.was_proven(entry):
            if rest:
                self.aged_out.add(entry.number)
        else:
            self.there.report_unproven(VERDICTS, rest, part.why, micro_batch=entry.number)

    def _check_accepted(self, entry: Entry) -> None:
        """Kafka must not hold what was accepted as lost behind the ledger's end.

        No stream would ever read it. The chain (I5) has all else.
        """
        for each in self.snapshot.accepted.moved(entry):
            if still := self.there.part(each).readable:
                message = "accepted as lost, and still in Kafka: no stream reads it"
                self.findings.add_range(FRONTIER, message, still, micro_batch=entry.number)

    def _pass(self, count: int) -> None:
        self._done += count
        self.on_progress(self._done)

    def was_proven(self, entry: Entry) -> bool:
        """Whether a micro-batch was proven while Kafka held its records, and is still what it was then."""
        if entry.number > self.snapshot.verified.until or self.findings.has(RANGES, entry.number):
            return False
        recheck = self.snapshot.verified.recheck.get(entry.number)
        # If only its files were damaged, checksums say whether they were put back: I8 compares them with the
        # entry.
        return recheck is None or (recheck.proven and recheck.restorable)

    def _was_explained(self, entry: Entry) -> bool:
        """Whether a micro-batch was proven, and each of its gaps explained.

        What Kafka does not have now, it has removed since.
        """
        return self.was_proven(entry) and entry.number not in self.snapshot.verified.gaps_not_checked

    def _remember_last(self, last: LastRecord | None) -> None:
        if last and (known := self.last_records.get(last.place, last)).offset <= last.offset:
            self.last_records[known.place] = last


def _lengths(gaps: Mapping[int, Sequence[OffsetRange]]) -> dict[int, int]:
    """Offsets per micro-batch."""
    return {number: sum(map(len, of_one)) for number, of_one in gaps.items()}
