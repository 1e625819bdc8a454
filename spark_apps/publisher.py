"""What happens to one micro-batch: judged, staged, audited, published."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from headrace import documents, effort
from headrace.contract.verdicts import Contract, Verdict
from headrace.errors import Code, LedgerError, UnavailableError
from headrace.kafka.offsets import OffsetRange, Offsets, between
from headrace.ledger import publish
from headrace.ledger.checkpoint import checkpoint_id, planned_offsets
from headrace.ledger.entries import Link, entry_path, read_link
from headrace.ledger.entry import RULES, DataFile, Entry, Totals
from headrace.ledger.folder import Folder
from headrace.ledger.guard import following, starts_of_new
from headrace.ledger.identity import Identity, read_identity
from headrace.text import plural
from spark_apps.judge import POSITION, judge, unusable

log = logging.getLogger("headrace")

ROLLED_BACK = "Nothing was published. One of them was rolled back: put both back from one point in time, or `headrace reset` the pipeline."

FILE_BYTES = 128 << 20
"""About how large a file may become."""

PARQUET = {"parquet.page.size.row.check.min": "1", "parquet.page.size.row.check.max": "10"}
"""After how many rows the writer looks how much memory its pages take: by default after 100, which may be a
gigabyte."""

RECENT = 10
"""Micro-batches whose files show how large a row is."""

FIRST_ROWS_PER_FILE = 1_000_000
"""Rows of a file as long as it is not known how large they are."""


class Publisher:
    """Publishes a stream's micro-batches one after the other, for `foreachBatch`.

    `error` keeps what went wrong, since Spark hands on nothing but its text. `at_work` is the micro-batch
    that is being published, and its ranges.
    """

    def __init__(self, folder: Folder, contract: Contract, run: str) -> None:
        self.folder = folder
        self.contract = contract
        self.run = run
        self.published: list[Entry] = []
        self.error: Exception | None = None
        self.at_work: tuple[int, Sequence[OffsetRange]] | None = None

    def __call__(self, records: DataFrame, micro_batch: int) -> None:
        """Publish one micro-batch, or pass over it if that was done already."""
        try:
            self._publish(records, micro_batch)
        except Exception as error:
            self.error = error
            raise
        finally:
            self.at_work = None

    def _publish(self, records: DataFrame, micro_batch: int) -> None:
        planned_at = datetime.now(UTC)
        identity = adopt_checkpoint(self.folder)
        before = self._entry_before(micro_batch)
        ranges = plan(self.folder, identity, before, micro_batch)
        if entry_path(self.folder, micro_batch).exists():
            must_be_published(ranges, read_link(self.folder, micro_batch).entry)
            log.info("micro-batch %d: published already", micro_batch)
            return

        log.info(
            "micro-batch %d: reading %s offsets of %s",
            micro_batch,
            f"{sum(map(len, ranges)):,}",
            plural(len(ranges), "partition"),
        )
        self.at_work = micro_batch, ranges
        staging = publish.stage(self.folder, micro_batch)
        counts = write(records, self.contract, ranges, staging, self._recent(micro_batch)) if ranges else {}
        events, quarantine = publish.data_files(staging.events), publish.data_files(staging.quarantine)
        accounts = publish.audit(ranges, counts, events, quarantine)
        ends = planned_offsets(self.folder.checkpoint, micro_batch)
        entry = Entry(
            number=micro_batch,
            previous=before.sha256 if before else None,
            checkpoint=str(identity.checkpoint),
            run=self.run,
            rules=RULES,
            contract=self.contract,
            planned_at=planned_at,
            published_at=datetime.now(UTC),
            starts=starts_of_new(before, ends, identity.start),
            offsets=(before.entry.offsets if before else Offsets()) | ends,
            accounts=accounts,
            totals=(before.entry.totals if before else Totals()).plus(accounts),
            events=events,
            quarantine=quarantine,
        )
        publish.commit(self.folder, staging, entry)
        self.published.append(entry)
        log.info("%s", described(entry))

    def _entry_before(self, micro_batch: int) -> Link | None:
        if micro_batch == 0:
            return None
        try:
            return read_link(self.folder, micro_batch - 1)
        except LedgerError as error:
            raise LedgerError(
                f"Checkpoint and ledger disagree: micro-batch {micro_batch} follows no entry. {error} {ROLLED_BACK}"
            ) from error

    def _recent(self, micro_batch: int) -> list[Entry]:
        """The entries of the last micro-batches, whose files show how many rows make a sensible file."""
        return [
            read_link(self.folder, number).entry
            for number in range(max(micro_batch - RECENT, 0), micro_batch)
        ]


def write(
    records: DataFrame,
    contract: Contract,
    ranges: Sequence[OffsetRange],
    staging: publish.Staging,
    before: Sequence[Entry],
) -> publish.Counts:
    """Write the kept records, counting all verdicts in the same pass.

    The unusable ones in a second, only if there are any.

    Args:
        before: Entries whose files show how many rows make a file of a sensible size.
    """
    # Little is written as one file, not as one for each Kafka partition.
    tasks = 1 + effort.values(sum(map(len, ranges)), len(contract.columns)) // effort.LITTLE
    records = records.coalesce(tasks)
    tally = Tally(judge(records, contract), ranges)
    kept = F.col("_verdict") == Verdict.KEPT
    rows = rows_per_file([file for entry in before for file in entry.events])
    rows_of_kept = tally.records.where(kept).select(*POSITION, *contract.columns)
    rows_of_kept.write.options(**PARQUET).option("maxRecordsPerFile", rows).parquet(str(staging.events))
    counts = tally.counts()
    if any(verdict == Verdict.QUARANTINED for _, verdict in counts):
        rows = rows_per_file([file for entry in before for file in entry.quarantine])
        whole = unusable(records, contract)
        whole.write.options(**PARQUET).option("maxRecordsPerFile", rows).parquet(str(staging.quarantine))
    return counts


def rows_per_file(files: Sequence[DataFile]) -> int:
    """How many rows make a file of about `FILE_BYTES`, by what those of other files take up."""
    rows = sum(file.rows for file in files)
    return max(1, FILE_BYTES * rows // sum(file.bytes for file in files)) if rows else FIRST_ROWS_PER_FILE


class Tally:
    """Counts records per topic, partition and verdict in the same pass that writes them.

    A frequent-items sketch is exact as long as it has room for every distinct item, which it has here by its
    size; the audit would notice if it were not, since the counts must sum up to the files' rows and the
    planned ranges.
    """

    _VERDICTS = tuple(Verdict)

    def __init__(self, judged: DataFrame, ranges: Sequence[OffsetRange]) -> None:
        topics = sorted({each.topic for each in ranges})
        width = 1 + max(each.partition for each in ranges)
        self._places = {topics.index(each.topic) * width + each.partition: each.place for each in ranges}
        self._observation = Observation()
        # The sketch evaluates what it is given row by row; a column is compiled with the rest of the plan.
        base = F.lit(None).cast("bigint")
        for number, topic in enumerate(topics):
            base = F.when(F.col("_topic") == topic, F.lit(number * width)).otherwise(base)
        place = F.when(F.col("_partition") < width, base + F.col("_partition"))
        verdict = F.lit(None).cast("bigint")
        for number, name in enumerate(self._VERDICTS):
            verdict = F.when(F.col("_verdict") == name, F.lit(number)).otherwise(verdict)
        item = place * len(self._VERDICTS) + verdict
        items = len(ranges) * len(self._VERDICTS)
        self.records = judged.withColumn("_item", item.cast("bigint")).observe(
            self._observation,
            F.count(F.lit(1)).alias("records"),
            F.call_function("approx_top_k", "_item", F.lit(items), F.lit(8 * items)).alias("items"),
        )

    def counts(self) -> publish.Counts:
        """The counts, once the records were written. Raises `LedgerError` if a record is in none of them."""
        observed = self._observation.get
        counts = {}
        for item, count in observed["items"]:
            number, verdict = divmod(item, len(self._VERDICTS))
            if place := self._places.get(number):
                counts[place, self._VERDICTS[verdict]] = count
        if sum(counts.values()) != observed["records"]:
            raise LedgerError(
                f"{observed['records']} records were read and {sum(counts.values())} have a verdict. {publish.UNPUBLISHED}"
            )
        return counts


def adopt_checkpoint(folder: Folder) -> Identity:
    """The identity, which from the first micro-batch on names the checkpoint that Spark made."""
    identity = read_identity(folder)
    if identity is None:
        raise LedgerError(
            f"{folder.identity} was removed while the stream was running. Nothing was published. Put it back, and clear the task."
        )
    if identity.checkpoint is None:
        identity = msgspec.structs.replace(identity, checkpoint=checkpoint_id(folder.checkpoint))
        # Spark leaves that to the system; identity.json must not name an id that a power cut removes.
        documents.sync(folder.checkpoint / "metadata")
        documents.write(folder.identity, identity)
    return identity


def plan(folder: Folder, identity: Identity, before: Link | None, micro_batch: int) -> list[OffsetRange]:
    """The offset ranges of a micro-batch: Spark's plan for it, from where the entry before ends.

    Never taken from the data.
    """
    planned = planned_offsets(folder.checkpoint, micro_batch)
    if new := [str(place) for place in planned if place not in identity.start]:
        raise UnavailableError(
            f"{', '.join(new)} was added while the stream was starting. Nothing was published. Run this task again: it joins then.",
            code=Code.PARTITION_ADDED,
        )
    try:
        return between(following(identity, before), planned)
    except ValueError as error:
        raise LedgerError(
            f"Checkpoint and ledger disagree on micro-batch {micro_batch}: {error}. {ROLLED_BACK}"
        ) from error


def must_be_published(ranges: Sequence[OffsetRange], entry: Entry) -> None:
    """Raise `LedgerError` unless the entry accounts for just these ranges.

    Passing over by id alone would lose records.
    """
    if list(ranges) != entry.ranges:
        planned, accounted = (", ".join(map(str, those)) for those in (ranges, entry.ranges))
        raise LedgerError(
            f"Checkpoint and ledger disagree: micro-batch {entry.number} is planned as {planned}, its entry accounts for {accounted}. "
            f"{ROLLED_BACK}"
        )


def described(entry: Entry) -> str:
    """An entry in one line of a log."""
    kept, filtered, quarantined, gaps = (
        entry.total(column) for column in ("kept", "filtered", "quarantined", "gaps")
    )
    skipped = f", {gaps:,} gaps" if gaps else ""
    seconds = (entry.published_at - entry.planned_at).total_seconds()
    return (
        f"micro-batch {entry.number}: {kept + filtered + quarantined:,} read = {kept:,} kept + {filtered:,} filtered + "
        f"{quarantined:,} quarantined{skipped}, {plural(len(entry.accounts), 'partition')}, {seconds:.1f} s"
    )
