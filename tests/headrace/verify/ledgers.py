"""Ledgers made without Kafka and Spark.

What both would have left behind, written through the ledger's own functions.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from headrace import documents
from headrace.contract.pipeline import Pipeline
from headrace.contract.verdicts import Verdict
from headrace.errors import BrokenInvariantError
from headrace.kafka.cluster import Block, TopicFacts
from headrace.kafka.offsets import OffsetRange, Offsets, TopicPartition
from headrace.kafka.record_batch import RecordBatch
from headrace.ledger import publish
from headrace.ledger.entries import read_link
from headrace.ledger.entry import RULES, Entry, Totals
from headrace.ledger.folder import ENTRY, Folder
from headrace.ledger.guard import TopicSnapshot
from headrace.ledger.identity import Identity
from headrace.ledger.progress import Started, Streamed, completed_receipts, streamed_runs
from headrace.ledger.receipts import (
    DIGEST_MODULUS,
    Landing,
    Receipt,
    ReceiptState,
    fingerprint,
    key,
    key_prefix,
)
from headrace.report.conclusion import conclude
from headrace.verify.result import RED, Report
from headrace.verify.run import Verification
from headrace.verify.scope import Scope, everything, since_verified
from headrace.verify.settle import draw_number
from headrace.verify.stored import store

FILE = """
name = "p"
description = "A ledger under test."
format = "text"
filter = "contains(value, 'important')"

[[topics]]
name = "t"
partitions = 1
replication_factor = 1
"""
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)
NAMES = ["_topic", "_partition", "_offset", "_timestamp", "_key"]

Record = tuple[bytes, bytes | None]

GAP = (b"", b"no record")
"""Stands in a list of records for an offset that holds none for a committed reader."""

PLACE = TopicPartition("t", 0)


@dataclass
class FakeKafka:
    """One topic `t` with records in its first partition, held in a list."""

    records: Sequence[Record]
    first: int = 0
    config: dict[str, str] = field(default_factory=dict)
    headers: list[tuple[str, bytes | None]] | None = field(default_factory=list)
    hidden_from: int | None = None
    """From here on an open transaction hides what there is from committed readers."""
    servers: str = "nowhere"
    batches: Sequence[RecordBatch] = ()
    """What the log says of its gaps."""
    waiting_at: int = 1000
    """Timestamp of what waits, in milliseconds since 1970."""
    coordinated: datetime | None = None
    """When the open transaction began, if a coordinator knows it."""
    partitions: int = 1
    lost_partition: int = 0
    """How many records have left the second partition unread."""
    ids: str | None = "id"
    """What topics' ids begin with; none if they are gone."""
    block: int = 50_000
    """A block holds at most this many records."""
    reads: list[OffsetRange] = field(default_factory=list)
    """What was asked for."""

    def describe(self, topics: Iterable[str]) -> dict[str, TopicFacts]:
        """It exists, unless it is gone."""
        return {
            topic: TopicFacts(f"{self.ids}-{topic}", self.partitions, 1, self.config)
            for topic in topics
            if self.ids
        }

    def require_rights(self, topics: Iterable[str], *operations: str) -> None:
        """No access lists rule here."""

    def earliest(self, topics: Iterable[str]) -> Offsets:
        """What came before has aged out."""
        return self._offsets(topics, self.first)

    def end(self, topics: Iterable[str], *, committed: bool = True) -> Offsets:
        """Where an open transaction hides the rest, or all of it."""
        end = len(self.records) if self.hidden_from is None or not committed else self.hidden_from
        return self._offsets(topics, end)

    def _offsets(self, topics: Iterable[str], first: int) -> Offsets:
        places = [
            TopicPartition(topic, partition) for topic in topics for partition in range(self.partitions)
        ]
        return Offsets({place: self.lost_partition if place.partition else first for place in places})

    def first_timestamps(self, offsets: Offsets) -> dict[TopicPartition, int]:
        """Every record is of the same moment."""
        at = offsets.get(PLACE)
        return {} if at is None or at >= len(self.records) else {PLACE: self.waiting_at}

    def offsets_for_time(self, topics: Iterable[str], milliseconds: int) -> Offsets:
        """The end if the moment is after all records."""
        return self.earliest(topics) if milliseconds <= self.waiting_at else self.end(topics)

    def longest_transaction(self) -> float:
        """Kafka's default."""
        return 900.0

    def transaction_start(self, place: TopicPartition, offset: int) -> datetime | None:
        """What the coordinator of the open transaction says."""
        assert (place, offset) == (PLACE, self.hidden_from)
        return self.coordinated

    def record_batches(self, place: TopicPartition, offset: int) -> Iterator[RecordBatch]:
        """Those that a test gave it."""
        assert place == PLACE
        return (batch for batch in self.batches if batch.last_offset >= offset)

    def read(self, offset_range: OffsetRange, *, committed: bool = True) -> Iterator[Block]:
        """In blocks."""
        assert committed in {True, False}
        self.reads.append(offset_range)
        offsets = [
            at
            for at in range(offset_range.from_offset, offset_range.until_offset)
            if self.records[at] is not GAP
        ]
        for first in range(0, len(offsets), self.block):
            some = offsets[first : first + self.block]
            keys: list[bytes | None] = [self.records[offset][0] for offset in some]
            values = [self.records[offset][1] for offset in some]
            headers = [self.headers for _ in some]
            yield Block(*offset_range.place, some, [1000] * len(some), keys, values, headers)


@dataclass
class Ledger:
    """A pipeline's folder and its Kafka."""

    pipeline: Pipeline
    folder: Folder
    kafka: FakeKafka
    runs: int = 0

    @classmethod
    def made(
        cls,
        base: Path,
        records: Sequence[Record],
        cuts: Sequence[int] = (),
        start: int = 0,
        checkpoint: str | None = "c1",
    ) -> "Ledger":
        """Publish a micro-batch up to each of the cuts."""
        base.mkdir(exist_ok=True)
        (base / "p.toml").write_text(FILE)
        one = cls(Pipeline.load(base / "p.toml"), Folder(base / "data" / "p"), FakeKafka(records))
        one.folder.root.mkdir(parents=True)
        identity = Identity(
            pipeline="p",
            checkpoint=checkpoint,
            topics={"t": "id-t"},
            start=Offsets.nested({"t": {0: start}}),
            contract=one.pipeline.contract,
        )
        documents.write(one.folder.identity, identity)
        documents.write(one.folder.started, Started(run="run", started_at=LATER))
        for log in ("offsets", "commits"):
            (one.folder.checkpoint / log).mkdir(parents=True)
        (one.folder.checkpoint / "metadata").write_text('{"id": "c1"}')
        publish.prepare(one.folder, one.pipeline.contract, -1)
        for number, (at, until) in enumerate(zip([start, *cuts], cuts, strict=False)):
            one.publish(number, at, until)
        return one

    def publish(self, number: int, at: int, until: int) -> None:
        """Publish one micro-batch."""
        records = {
            offset: self.kafka.records[offset]
            for offset in range(at, until)
            if self.kafka.records[offset] is not GAP
        }
        kept = [
            offset for offset, (_, value) in records.items() if value is not None and b"important" in value
        ]
        unusable = [offset for offset, (_, value) in records.items() if value is None]
        staging = publish.stage(self.folder, number)
        if kept:
            staging.events.mkdir()
            rows = {
                **position(records, kept),
                "value": [(records[offset][1] or b"").decode() for offset in kept],
            }
            pq.write_table(pa.table(rows), staging.events / f"part-{number}.parquet")
        if unusable:
            staging.quarantine.mkdir()
            headers = pa.array(
                [None] * len(unusable), pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
            )
            values = pa.array([None] * len(unusable), pa.binary())
            rows = {
                **position(records, unusable),
                "_value": values,
                "_headers": headers,
                "reason": ["null_value"] * len(unusable),
            }
            rows["field"] = pa.array([None] * len(unusable), pa.string())
            pq.write_table(pa.table(rows), staging.quarantine / f"part-{number}.parquet")
        events, quarantine = publish.data_files(staging.events), publish.data_files(staging.quarantine)
        counts = {
            (PLACE, Verdict.KEPT): len(kept),
            (PLACE, Verdict.FILTERED): len(records) - len(kept) - len(unusable),
            (PLACE, Verdict.QUARANTINED): len(unusable),
        }
        (self.folder.checkpoint / "offsets" / str(number)).write_text(
            "v1\n{}\n" + json.dumps({"t": {"0": until}})
        )
        before = read_link(self.folder, number - 1) if number else None
        accounts = publish.audit([OffsetRange("t", 0, at, until)], counts, events, quarantine)
        entry = Entry(
            number=number,
            previous=before.sha256 if before else None,
            checkpoint="c1",
            run="run",
            rules=RULES,
            contract=self.pipeline.contract,
            planned_at=MOMENT,
            published_at=MOMENT,
            starts=Offsets() if before else Offsets({PLACE: at}),
            offsets=Offsets.nested({"t": {0: until}}),
            accounts=accounts,
            totals=(before.entry.totals if before else Totals()).plus(accounts),
            events=events,
            quarantine=quarantine,
        )
        publish.commit(self.folder, staging, entry)
        (self.folder.checkpoint / "commits" / str(number)).write_text("v1\n{}")

    def rolled_back(self, to: "Ledger") -> None:
        """Put ledger and checkpoint back as they are in another folder, and leave the rest."""
        for name in ("events", "quarantine", "checkpoint"):
            shutil.rmtree(self.folder.root / name)
            shutil.copytree(to.folder.root / name, self.folder.root / name)

    def copied(self, base: Path) -> "Ledger":
        """The same in another folder."""
        shutil.copytree(self.folder.root, base / "p")
        return Ledger(self.pipeline, Folder(base / "p"), self.kafka)

    def tamper(
        self,
        micro_batch: int,
        change: Callable[[pa.Table], pa.Table],
        kind: str = "events",
        *,
        sign: bool = False,
    ) -> None:
        """Change a published file behind its entry's back, or sign it.

        Then the entry says what the file now is.
        """
        (path,) = (self.folder.root / kind / f"micro_batch={micro_batch}").glob("*.parquet")
        table = change(pq.read_table(path, partitioning=None))
        pq.write_table(table, path)
        if sign:
            entry_path = self.folder.events / f"micro_batch={micro_batch}" / ENTRY
            entry = documents.read(entry_path, Entry)
            (file,) = getattr(entry, kind)
            now = msgspec.structs.replace(
                file,
                bytes=path.stat().st_size,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                spans=[msgspec.structs.replace(file.spans[0], rows=len(table))],
            )
            documents.write(entry_path, msgspec.structs.replace(entry, **{kind: [now]}))
            self.chain(micro_batch)

    def chain(self, number: int) -> None:
        """Let the entries behind one that was changed name it as it is now."""
        for after in range(number + 1, len(self.folder.micro_batches())):
            before, this = read_link(self.folder, after - 1), read_link(self.folder, after)
            path = self.folder.published(self.folder.events, after) / ENTRY
            documents.write(path, msgspec.structs.replace(this.entry, previous=before.sha256))

    def receipt(self, run: str, low: int, high: int, start: int = 0) -> Receipt:
        """Store the receipt of a batch that landed in these offsets, and let a stream know it."""
        made = self.made_receipt(run, low, high, start)
        documents.write(self.folder.unverified_receipt(run), made)
        documents.write(self.folder.streamed, self.streamed)
        return made

    def made_receipt(self, run: str, low: int, high: int, start: int = 0) -> Receipt:
        """What the producer of that batch would write."""
        mine = [
            record
            for record in self.kafka.records[low : high + 1]
            if record[0].startswith(key_prefix("p", run))
        ]
        return Receipt(
            pipeline="p",
            run=run,
            state=ReceiptState.COMPLETE,
            seed=1,
            records=len(mine),
            malformed=0.0,
            opened_at=MOMENT,
            completed_at=MOMENT,
            start=Offsets.nested({"t": {0: start}}),
            landings=[
                Landing(topic="t", partition=0, lowest_offset=low, highest_offset=high, count=len(mine))
            ],
            digest=f"{sum(fingerprint(*record) for record in mine) % DIGEST_MODULUS:032x}",
        )

    @property
    def streamed(self) -> Streamed:
        """A stream that had before it what is complete now."""
        names = streamed_runs(self.folder, completed_receipts(self.folder))
        return Streamed(run="run", started_at=LATER, ended_at=LATER, receipts=names)

    def verify(self, scope: Scope | None = None) -> dict[str, list[str]]:
        """Verify, as the DAG does unless a scope is given; what does not hold, with the findings' texts."""
        return self.conclude(self.look(scope), scope)

    def look(self, scope: Scope | None = None) -> Report:
        """Check, and store the report."""
        self.runs += 1
        report = self.verification(scope or since_verified(self.folder)).run(f"verify-{self.runs}")
        store(self.folder, report)
        return report

    def verification(self, scope: Scope) -> Verification:
        """A verify run that has begun."""
        number = draw_number(self.folder, "a test")
        return Verification(self.folder, self.pipeline, self.kafka, scope, number)

    def conclude(self, report: Report, scope: Scope | None = None) -> dict[str, list[str]]:
        """End the run."""
        try:
            conclude(self.folder, self.pipeline, scope or since_verified(self.folder), report)
        except BrokenInvariantError:
            assert report.state == "red"
        else:
            assert report.state == "green"
        return {
            each.id: [finding.message for finding in each.findings]
            for each in report.invariants
            if each.state in RED
        }

    @property
    def everything(self) -> Scope:
        """All that was ever published."""
        return everything(self.folder)


def cluster(earliest: dict[int, int], end: dict[int, int], compacted: Sequence[str] = ()) -> TopicSnapshot:
    """What the broker says of the topic, without open transactions."""
    ends = Offsets.nested({"t": end})
    return TopicSnapshot({"t": "id-t"}, Offsets.nested({"t": earliest}), ends, ends, compacted)


def position(records: dict[int, Record], offsets: list[int]) -> dict[str, Any]:
    """The five columns that say where a record stood."""
    columns = [
        pa.array(["t"] * len(offsets)),
        pa.array([0] * len(offsets), pa.int32()),
        pa.array(offsets, pa.int64()),
        pa.array([1_000_000] * len(offsets), pa.timestamp("us", "UTC")),
        pa.array([records[offset][0] for offset in offsets], pa.binary()),
    ]
    return dict(zip(NAMES, columns, strict=True))


def forged(table: pa.Table) -> pa.Table:
    """The rows with another text."""
    return table.set_column(5, "value", pa.array(["FORGEDone"] * len(table)))


def batch(run: str, count: int, pipeline: str = "p") -> list[Record]:
    """A batch's records, all of them to be kept."""
    return [(key(key_prefix(pipeline, run), number), b"important") for number in range(count)]


def others(count: int) -> list[Record]:
    """Records of somebody else: kept and filtered ones in turn, one of ten unusable."""
    return [
        (b"k%d" % number, None if number % 10 == 3 else b"important" if number % 2 else b"other")
        for number in range(count)
    ]
