"""Histories: what may happen to a pipeline, drawn at random, and verify held against the oracle each time.

An operation is a name with plain arguments. It fits whatever came before it, or does nothing, so that a
history stays one when some of its operations are taken out: that is how a failing one is shortened.
"""

import itertools
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from cluster import FakeCluster, Marker
from headrace import accepting
from headrace.contract.pipeline import Pipeline
from headrace.contract.verdicts import Contract, Verdict
from headrace.errors import BrokenInvariantError, HeadraceError
from headrace.kafka.cluster import Block, Cluster
from headrace.kafka.offsets import Nested, OffsetRange, Offsets, TopicPartition
from headrace.ledger import publish
from headrace.ledger.checkpoint import logged
from headrace.ledger.entry import Entry
from headrace.ledger.folder import Folder
from headrace.report import wording
from headrace.report.conclusion import conclude
from headrace.verify import engine
from headrace.verify.result import RED, Report
from headrace.verify.run import Verification
from headrace.verify.scope import everything, since_verified
from headrace.verify.settle import draw_number
from headrace.verify.stored import store
from oracle import Broker, Disk, Expected, Knowledge, Oracle, Record, judged, log_of
from spark_apps import filter_stream, publisher

Operation = tuple[Any, ...]

FILE = """
name = "p"
description = "A history under test."
format = "text"
filter = "contains(value, 'important')"
starting = "{starting}"
max_records_per_micro_batch = {most}

[[topics]]
name = "{prefix}t"
partitions = 2
replication_factor = 1

[[topics]]
name = "{prefix}u"
partitions = 1
replication_factor = 1
"""
PARTITIONS = {"t": 2, "u": 1}

VALUES: dict[str, bytes | None] = {"i": b"important", "o": b"other", "n": None, "e": b"", "x": b"\xff"}
"""What a letter of an operation stands for: kept, filtered, quarantined, filtered, quarantined."""

KILLS = ("opened", "planned", "staged", "quarantined", "committed", "ended")
"""Where a stream may be killed: before it plans, before it writes, before the commit, between the two renames
of the commit, before Spark notes the commit, and before it says that it ended."""

# Fmt: skip.
HAZARDS: dict[str, float] = {
    "age_out": 5,
    "accept": 5,
    "add_partition": 2,
    "compact": 3,
    "kill": 4,
    "copy": 6,
    "cut": 3,
    "damage": 5,
    "topic": 1,
}
"""What a history may meet, and how often where it does."""


class Databases:
    """DuckDB's databases for verify, used again and again.

    To open and close two takes longer than a verify run over a short history.
    """

    def __init__(self) -> None:
        self.idle: list[duckdb.DuckDBPyConnection] = []
        self.taken: list[duckdb.DuckDBPyConnection] = []
        self.connect = engine.connect

    def take(self) -> duckdb.DuckDBPyConnection:
        """One that works: a damaged file may have broken it."""
        while self.idle:
            one = self.idle.pop()
            with suppress(duckdb.Error):
                one.execute("SELECT 1").fetchall()
                break
        else:
            one = self.connect()
        self.taken.append(one)
        return one

    def give_back(self) -> None:
        """A verify run is over."""
        self.idle, self.taken = [*self.idle, *self.taken], []


class KilledError(Exception):
    """The stream was killed."""


class World(Protocol):
    """A cluster, and a Spark that streams from it."""

    kafka: Cluster
    servers: str
    topics: Sequence[str]

    def write(
        self, topic: str, partition: int, records: Sequence[Record], transactional_id: str | None
    ) -> None:
        """Append records, plain or within an open transaction, which begins with the first."""

    def end_transaction(self, transactional_id: str, *, commit: bool) -> None:
        """Commit or abort, if it is open."""

    def age_out(self, topic: str, partition: int, first: int) -> None:
        """Move a log's first offset."""

    def add_partition(self, topic: str) -> None:
        """Add one."""

    def compact(self, topic: str, percent: int, passes: int) -> None:
        """Compact the beginning of a topic's logs; its policy is that of a compacted topic from now on.

        A second pass removes markers as well.
        """

    def keep(self, topic: str) -> None:
        """Set the policy back."""

    def delete(self, topic: str) -> None:
        """Delete a topic."""

    def create(self, topic: str) -> None:
        """Create it again."""

    def look(self) -> Broker:
        """What the broker holds, read by other code than headrace's."""

    def streaming(self) -> Any:
        """A context in which `filter_stream.main` streams from here."""


@dataclass
class Copy:
    """A copy of the folder, with what was known and what was damaged when it was made."""

    root: Path
    knowledge: Knowledge
    damaged: "list[Damage]"


@dataclass(frozen=True)
class Damage:
    """Something that was damaged or removed, with what it takes to put it back.

    Files by path, and the entry that they belong to.
    """

    files: Mapping[Path, bytes]
    entry: Path
    of: bytes


class DisagreementError(AssertionError):
    """Verify and the oracle disagree."""


@dataclass
class History:
    """A pipeline to which things happen."""

    world: World
    pipeline: Pipeline
    folder: Folder
    oracle: Oracle
    seen: Counter[str] = field(default_factory=Counter)
    """What came to pass, to see that histories are not all alike."""
    copy: Copy | None = None
    damaged: list[Damage] = field(default_factory=list)
    databases: Databases = field(default_factory=Databases)
    written: int = 0
    runs: int = 0

    @classmethod
    def begin(cls, base: Path, world: World, settings: Mapping[str, Any]) -> "History":
        """A pipeline without a folder."""
        base.mkdir(parents=True, exist_ok=True)
        path = base / "p.toml"
        path.write_text(FILE.format(prefix=world.topics[0].removesuffix("t"), **settings))
        folder = Folder(base / "data" / "p")
        return cls(
            world, Pipeline.load(path), folder, Oracle(folder.root, world.topics, settings["starting"])
        )

    def apply(self, operation: Operation) -> None:
        """Let it happen. Raises `DisagreementError` if verify or a stream does not do what it should."""
        name, *arguments = operation
        getattr(self, f"do_{name}")(*arguments)
        self.oracle.look(self.world.look())

    def do_write(self, place: int, letters: str, transaction: int | None = None) -> None:
        """Append records."""
        if there := self._place(place):
            records = [
                (b"k%d" % ((self.written + each) % 4), VALUES[letter]) for each, letter in enumerate(letters)
            ]
            self.written += len(letters)
            self.world.write(*there, records, None if transaction is None else f"transaction-{transaction}")

    def do_commit(self, transaction: int) -> None:
        """End a transaction."""
        self.world.end_transaction(f"transaction-{transaction}", commit=True)

    def do_abort(self, transaction: int) -> None:
        """End a transaction."""
        self.world.end_transaction(f"transaction-{transaction}", commit=False)

    def do_age_out(self, place: int, percent: int, of: str) -> None:
        """Move a log's first offset, over what is published only or over all."""
        if there := self._place(place):
            log = self.world.look().logs[there]
            ends = Disk(self.folder.root).ends
            until = log.last if of == "all" else min(ends.get(there, 0), log.last)
            if until > log.first:
                self.world.age_out(*there, log.first + -(-(until - log.first) * percent // 100))

    def do_add_partition(self, topic: int) -> None:
        """Add one to a topic."""
        if (name := self.world.topics[topic]) in self.world.look().ids:
            self.world.add_partition(name)

    def do_compact(self, topic: int, percent: int, passes: int) -> None:
        """Compact a topic's beginning, and leave the policy as it is then."""
        if (name := self.world.topics[topic]) in self.world.look().ids:
            self.world.compact(name, percent, passes)

    def do_keep(self, topic: int) -> None:
        """Set the policy back."""
        if (name := self.world.topics[topic]) in self.world.look().ids:
            self.world.keep(name)

    def do_delete_topic(self, topic: int) -> None:
        """Delete a topic."""
        if (name := self.world.topics[topic]) in self.world.look().ids:
            self.world.delete(name)

    def do_create_topic(self, topic: int) -> None:
        """Create it again, if it was deleted."""
        if (name := self.world.topics[topic]) not in self.world.look().ids:
            self.world.create(name)

    def do_copy(self) -> None:
        """Take a whole copy of the folder."""
        if self.folder.root.exists():
            root = self.folder.root.parent.parent / "copy"
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(self.folder.root, root)
            self.copy = Copy(root, self.oracle.copied(), list(self.damaged))

    def do_restore(self, of: str) -> None:
        """Put the copy back: all of it, or ledger and checkpoint only."""
        if self.copy is None:
            return
        names = (
            [path.name for path in self.copy.root.iterdir()]
            if of == "all"
            else ["events", "quarantine", "checkpoint"]
        )
        if of == "all":
            shutil.rmtree(self.folder.root)
            self.folder.root.mkdir()
            self.oracle.knowledge = self.copy.knowledge
            self.copy.knowledge = self.oracle.copied()
        for name in names:
            there, copied = self.folder.root / name, self.copy.root / name
            shutil.rmtree(there, ignore_errors=True)
            if copied.is_dir():
                shutil.copytree(copied, there)
            elif copied.exists():
                shutil.copy2(copied, there)
        self.damaged = list(self.copy.damaged)

    def do_cut(self, chosen: int) -> None:
        """Cut the power: files that were not synced lose content, or their name too, by `chosen`."""
        if self.damaged:
            return  # a plan whose entry was removed looks like one that was never synced
        for number, path in enumerate(unsynced(self.folder)):
            if (chosen >> 2 * number) & 1:
                path.write_bytes(b"")
            elif (chosen >> 2 * number) & 2:
                path.unlink()

    def do_damage(self, which: int, what: str) -> None:
        """Delete or alter a data file, or delete a micro-batch's folder."""
        if not self.folder.root.exists() or not (numbers := Disk(self.folder.root).published):
            return
        number = numbers[which % len(numbers)]
        folder = self.folder.published(self.folder.events, number)
        entry = folder / "_entry.json"
        files = [path for path, _ in Disk(self.folder.root).files(number) if path.exists()]
        if what == "folder":
            self.damaged.append(
                Damage({path: path.read_bytes() for path in folder.iterdir()}, entry, entry.read_bytes())
            )
            shutil.rmtree(folder)
        elif files:
            path = files[which % len(files)]
            content = path.read_bytes()
            self.damaged.append(Damage({path: content}, entry, entry.read_bytes()))
            match what:
                case "delete":
                    path.unlink()
                case "shorten":
                    path.write_bytes(content[:-9])
                case "flip":
                    path.write_bytes(content[:8] + bytes([content[8] ^ 0xFF]) + content[9:])

    def do_mend(self) -> None:
        """Put back what was damaged last, as far as what is there now is still what it was taken from."""
        while self.damaged:
            one = self.damaged.pop()
            is_folder = one.entry in one.files
            if one.entry.exists() != is_folder and (is_folder or one.entry.read_bytes() == one.of):
                for path, content in one.files.items():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)

    def do_stream(self, kill: str | None = None, at: int = 0) -> None:
        """Run the stream to its end, or until it is killed in the `at`-th micro-batch of this run."""
        self.runs += 1
        may = self.oracle.may_stream(self.world.look())
        arguments = ["--pipeline", str(self.pipeline.path), "--bootstrap-servers", self.world.servers]
        arguments += ["--data", str(self.folder.root.parent), "--run", f"run-{self.runs}"]
        refused: Exception | None = None
        with self.world.streaming(), killing(kill, at):
            try:
                filter_stream.main(arguments)
            except KilledError:
                self.seen["killed"] += 1
            except HeadraceError as error:
                refused = error
        self.seen["refused" if refused else "streamed"] += 1
        if may is (refused is not None):
            raise DisagreementError(
                f"the stream {'was refused: ' + str(refused) if refused else 'was not refused'}"
            )

    def do_accept(self, kill: str | None = None) -> None:
        """Accept what is lost or unproven, all that the oracle says and nothing else.

        Or be killed before or after the commit.
        """
        self.runs += 1
        wanted = self.oracle.acceptable(self.world.look())
        try:
            with patch.object(engine, "connect", self.databases.take):
                listed = accepting.unprovable(self.folder, self.pipeline, self.world.kafka)
        except HeadraceError as error:
            if wanted is not None:
                raise DisagreementError(f"no list: {error}") from error
            return
        finally:
            self.databases.give_back()
        if wanted is None or (_offsets(listed.lost), _offsets(listed.unproven)) != (
            wanted.lost,
            wanted.unproven,
        ):
            raise DisagreementError(f"the list: {listed}, the oracle {wanted}")
        if not listed:
            return
        may = self.oracle.may_accept()
        refused: Exception | None = None
        with killing(kill, 0):
            try:
                accepting.accept(
                    self.folder,
                    self.pipeline,
                    self.world.kafka,
                    listed,
                    by="a",
                    reason="b",
                    run=f"accept-{self.runs}",
                )
            except KilledError:
                self.seen["killed"] += 1
            except HeadraceError as error:
                refused = error
        if may is (refused is not None):
            raise DisagreementError(
                f"the acceptance {'was refused: ' + str(refused) if refused else 'was not refused'}"
            )
        if refused is None and kill in {None, "committed"}:
            self.oracle.remember(wanted)
            self.seen["accepted"] += 1
            self.seen["accepted unproven"] += bool(listed.unproven)

    def do_verify(self, of: str) -> None:
        """Run verify over what is new or over all, and hold its report against what the oracle says."""
        self.runs += 1
        whole = of == "all"
        expected = self.oracle.expect(self.world.look(), whole=whole)
        scope = everything(self.folder) if whole else since_verified(self.folder)
        number = draw_number(self.folder, "a test")
        with patch.object(engine, "connect", self.databases.take):
            report = Verification(self.folder, self.pipeline, self.world.kafka, scope, number).run(
                f"verify-{self.runs}"
            )
        self.databases.give_back()
        store(self.folder, report)
        with suppress(BrokenInvariantError):
            conclude(self.folder, self.pipeline, scope, report)
        self.seen["green" if wording.outcome(report).green else "red"] += 1
        for what, count in (
            ("waiting", len(expected.waiting)),
            ("lost", len(expected.lost)),
            ("unproven", len(expected.unproven)),
        ):
            self.seen[f"with {what}"] += count > 0
        self.seen["with gaps"] += sum(expected.gaps.values()) > 0
        self.seen["without proof"] += report.waiting.before_any_stream
        self.seen["aged out"] += bool(report.aged_out)
        compare(report, expected, self.oracle.removed)
        if wording.outcome(report).green:
            ever = self.oracle.ever()
            if (report.ever.lost, report.ever.unproven) != (len(ever.lost), len(ever.unproven)):
                raise DisagreementError(f"accepted: verify {report.ever}, oracle {ever}")
            totals = report.ever
            if min(totals.kept, totals.filtered, totals.quarantined, totals.gaps) < 0:
                raise DisagreementError(f"totals: {totals}")
        if wording.outcome(report).green and (broken := self.oracle.broken_promise(expected)):
            raise DisagreementError(f"green, and {broken}")
        self.oracle.settle(expected)

    def _place(self, number: int) -> tuple[str, int] | None:
        places = sorted(self.world.look().logs)
        return places[number % len(places)] if places else None


def compare(report: Report, expected: Expected, uncounted: Collection[tuple[str, int]]) -> None:
    """Raise `DisagreementError` if a report says something else than it should.

    Args:
        uncounted: Partitions whose gaps the oracle can't count.
    """
    found = {each.id: each.findings for each in report.invariants}
    messages = {
        each.id: [finding.message for finding in each.findings]
        for each in report.invariants
        if each.state in RED
    }
    gaps: Counter[Any] = Counter()
    for row in report.balance:
        if (place := (row.topic, row.partition)) not in uncounted:
            gaps[place] += row.gaps
    said = {
        "green": wording.outcome(report).green,
        "waiting": {
            (each.topic, each.partition): (
                each.from_offset,
                each.until_offset,
                each.hidden.offsets if each.hidden else 0,
            )
            for each in report.waiting.partitions
        },
        "waiting offsets": report.waiting.offsets,
        "lost": {
            (each.topic, each.partition, each.from_offset, each.until_offset)
            for each in found["I9"]
            if each.from_offset is not None
        },
        "unproven": {
            (each.micro_batch, (each.topic, each.partition, each.from_offset, each.until_offset))
            for each in found["I7"]
            if each.message.startswith("never verified")
        },
        "gaps": +gaps,
        "accepted lost": +sum(
            (Counter({(row.topic, row.partition): row.lost}) for row in report.balance), Counter()
        ),
        "named": set(report.recheck.micro_batches),
        "doubted": report.recheck.everything,
    }
    wanted = {
        "green": not expected.red,
        "waiting": expected.waiting,
        "waiting offsets": sum(until - at for at, until, _ in expected.waiting.values()),
        "lost": expected.lost,
        "unproven": expected.unproven,
        "gaps": +expected.gaps,
        "accepted lost": +expected.accepted_lost,
        "named": expected.named,
        "doubted": expected.doubted,
    }
    if differing := [
        f"{name}: verify {said[name]}, oracle {wanted[name]}" for name in wanted if said[name] != wanted[name]
    ]:
        raise DisagreementError(
            "\n".join([*differing, f"verify found {messages}", f"the oracle found {expected.red}"])
        )


def _offsets(ranges: Iterable[OffsetRange]) -> frozenset[tuple[str, int, int]]:
    return frozenset(
        (each.topic, each.partition, offset)
        for each in ranges
        for offset in range(each.from_offset, each.until_offset)
    )


def unsynced(folder: Folder) -> list[Path]:
    """Files of Spark's, which syncs none, that a power cut may empty or remove.

    Those that `checkpoint.sync` has not reached yet.

    Before the first commit that is everything but the id that identity.json names; after it notes of commits,
    and a plan that is not published.
    """
    if not folder.root.exists() or (disk := Disk(folder.root)).identity is None:
        return []
    plans = [folder.checkpoint / "offsets" / str(number) for number in disk.plans if number > disk.newest]
    commits = [folder.checkpoint / "commits" / str(number) for number in reversed(disk.commits[-2:])]
    first = [folder.checkpoint / "sources" / "0" / "0"] if disk.newest < 0 else []
    id_ = [folder.checkpoint / "metadata"] if disk.identity["checkpoint"] is None else []
    return [path for path in [*plans, *commits, *first, *id_] if path.exists()]


@contextmanager
def killing(kill: str | None, at: int) -> Iterator[None]:
    """Let a stream be killed, in the `at`-th micro-batch of this run where it is killed within one."""
    replaced: dict[str, tuple[Any, str, Any]] = {
        "opened": (filter_stream, "run_to_end", _die),
        "planned": (filter_stream, "Publisher", partial(_Dying, at=at)),
        "ended": (filter_stream, "check_receipts", _die),
    }
    if kill is None:
        yield
    else:
        with patch.object(*replaced.get(kill, (publish, "commit", _half_commit(kill, at)))):
            yield


def _die(*_: Any) -> None:
    raise KilledError


def _half_commit(kill: str, at: int) -> Callable[[Folder, publish.Staging, Entry], None]:
    """A commit during which the stream is killed."""
    commit, calls = publish.commit, itertools.count()

    def half(folder: Folder, staging: publish.Staging, entry: Entry) -> None:
        dies = next(calls) >= at
        if dies and kill == "quarantined" and entry.quarantine:
            place = folder.published(folder.quarantine, entry.number)
            place.parent.mkdir(exist_ok=True)
            staging.quarantine.rename(place)
        if not dies or kill == "committed":
            commit(folder, staging, entry)
        if dies:
            raise KilledError

    return half


class _Dying(publisher.Publisher):
    """A publisher that is killed before it does anything about a micro-batch."""

    def __init__(self, *arguments: Any, at: int) -> None:
        super().__init__(*arguments)
        self.at = at

    def __call__(self, records: Any, micro_batch: int) -> None:
        if len(self.published) >= self.at:
            self.error = KilledError()
            raise self.error
        super().__call__(records, micro_batch)


class FakeWorld:
    """The cluster in memory, and of Spark the files of its checkpoint and the rows that it writes."""

    def __init__(self) -> None:
        self.fake = FakeCluster()
        self.kafka: Cluster = self.fake
        self.servers = str(self.fake.servers)
        self.topics: Sequence[str] = list(PARTITIONS)
        self.checkpoints = 0
        for topic, partitions in PARTITIONS.items():
            self.fake.create(topic, partitions)

    def write(
        self, topic: str, partition: int, records: Sequence[Record], transactional_id: str | None
    ) -> None:
        """Append a batch."""
        self.fake.write(topic, partition, records, transactional_id)

    def end_transaction(self, transactional_id: str, *, commit: bool) -> None:
        """Write markers."""
        self.fake.end_transaction(transactional_id, Marker.COMMIT if commit else Marker.ABORT)

    def age_out(self, topic: str, partition: int, first: int) -> None:
        """Move a log's first offset."""
        self.fake.topics[topic].partitions[partition].age_out(first)

    def add_partition(self, topic: str) -> None:
        """Add one."""
        self.fake.add_partition(topic)

    def compact(self, topic: str, percent: int, passes: int) -> None:
        """Let the cleaner pass; by the second time `delete.retention.ms` is over."""
        self.fake.topics[topic].policy = "compact"
        for log in self.fake.topics[topic].partitions:
            until = log.first + (log.last - log.first) * percent // 100
            for each in range(passes):
                log.compact(until, markers=each > 0)

    def keep(self, topic: str) -> None:
        """Set the policy back."""
        self.fake.topics[topic].policy = "delete"

    def delete(self, topic: str) -> None:
        """Delete a topic."""
        self.fake.delete(topic)

    def create(self, topic: str) -> None:
        """Create it again."""
        self.fake.create(topic, PARTITIONS[topic])

    def look(self) -> Broker:
        """Its logs, front to back."""
        topics = self.fake.topics
        return Broker(
            ids={name: topic.id for name, topic in topics.items()},
            logs={
                (name, number): log_of(each.log, each.first, each.last, each.open.values())
                for name, topic in topics.items()
                for number, each in enumerate(topic.partitions)
            },
            compacted=frozenset(name for name, topic in topics.items() if "compact" in topic.policy),
        )

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """`filter_stream.main` without Spark."""
        replaced: list[tuple[Any, str, Callable[..., Any]]] = [
            (filter_stream, "Kafka", lambda _: self.kafka),
            (filter_stream, "spark_session", lambda *_: None),
            (filter_stream, "kafka_stream", lambda _spark, _pipeline, _kafka, start, most: (start, most)),
            (filter_stream, "run_to_end", self.run_to_end),
            (publisher, "judge", lambda records, _: records),
            (publisher, "write", self.write_rows),
        ]
        with ExitStack() as patches:
            for module, name, by in replaced:
                patches.enter_context(patch.object(module, name, by))
            yield

    def run_to_end(
        self, records: tuple[Offsets, int], folder: Folder, publish_one: Callable[[Any, int], None]
    ) -> None:
        """What Spark does with its checkpoint.

        A plan that is not noted as done is carried out again, then come others up to today's end.
        """
        start, most = records
        checkpoint = folder.checkpoint
        if not (checkpoint / "metadata").exists():
            self.checkpoints += 1
            for log in ("offsets", "commits", "sources/0"):
                (checkpoint / log).mkdir(parents=True, exist_ok=True)
            (checkpoint / "metadata").write_text(json.dumps({"id": f"checkpoint-{self.checkpoints}"}))
        end = self.fake.end(self.topics)
        planned = logged(checkpoint, "offsets")
        number = max(planned, default=-1)
        at: Offsets | None = self._offsets(checkpoint / "offsets" / str(number)) if planned else None
        if number > self._noted(checkpoint):
            publish_one(None, number)
            self._note(checkpoint, number)
        while at is None or at != end:
            if at is None:
                (checkpoint / "sources" / "0" / "0").write_text("\0v1\n" + json.dumps(start.by_topic()))
                at = start
            at = limited(at, end, most)
            number += 1
            self._plan(checkpoint / "offsets" / str(number), at)
            publish_one(None, number)
            self._note(checkpoint, number)

    def write_rows(
        self,
        _: Any,
        contract: Contract,
        ranges: Sequence[OffsetRange],
        staging: publish.Staging,
        _before: Sequence[Entry],
    ) -> publish.Counts:
        """The rows that Spark would write, judged by the oracle's rule."""
        counts: Counter[tuple[TopicPartition, Verdict]] = Counter()
        rows: dict[Verdict, list[dict[str, Any]]] = {verdict: [] for verdict in Verdict}
        for block in (block for each in ranges for block in self.fake.read(each)):
            for verdict, row in _rows(block):
                counts[block.place, verdict] += 1
                rows[verdict].append(row)
        kept, unusable = publish.schemas(contract)
        for verdict, schema, place in (
            (Verdict.KEPT, kept, staging.events),
            (Verdict.QUARANTINED, unusable, staging.quarantine),
        ):
            if rows[verdict]:
                place.mkdir()
                pq.write_table(pa.Table.from_pylist(rows[verdict], schema), place / "part-0.parquet")
        return counts

    def _noted(self, checkpoint: Path) -> int:
        """The micro-batch that was noted last; Spark reads that note and no other."""
        last = max(logged(checkpoint, "commits"), default=-1)
        assert last < 0 or (checkpoint / "commits" / str(last)).read_text(), (
            "Spark can't read a file without content"
        )
        return last

    def _offsets(self, path: Path) -> Offsets:
        return Offsets.nested(msgspec.json.decode(path.read_text().splitlines()[-1], type=Nested))

    def _plan(self, path: Path, offsets: Offsets) -> None:
        path.write_text("v1\n{}\n" + json.dumps(offsets.by_topic()))

    def _note(self, checkpoint: Path, number: int) -> None:
        (checkpoint / "commits" / str(number)).write_text("v1\n{}")


def limited(at: Offsets, end: Offsets, most: int) -> Offsets:
    """The next plan: each partition's share of `most` offsets, by how much waits there.

    A partition that is new begins at 0.
    """
    waits = {place: until - at.get(place, 0) for place, until in end.items()}
    whole = sum(waits.values())
    share = {
        place: size if whole <= most else min(size, -(-size * most // whole)) for place, size in waits.items()
    }
    return Offsets({place: at.get(place, 0) + share[place] for place in end})


def _rows(block: Block) -> Iterator[tuple[Verdict, dict[str, Any]]]:
    for offset, timestamp, key, value in zip(
        block.offsets, block.timestamps, block.keys, block.values, strict=True
    ):
        verdict = Verdict(judged(value))
        row = {
            "_topic": block.topic,
            "_partition": block.partition,
            "_offset": offset,
            "_timestamp": timestamp * 1000,
            "_key": key,
        }
        if verdict is Verdict.KEPT:
            yield verdict, {**row, "value": (value or b"").decode()}
        else:
            yield (
                verdict,
                {
                    **row,
                    "_value": value,
                    "_headers": None,
                    "reason": "not_utf8" if value else "null_value",
                    "field": None,
                },
            )


def drawn(chance: random.Random) -> tuple[dict[str, Any], list[Operation]]:
    """A history: the pipeline's settings, and what happens.

    Each meets few of the hazards, so that most of it is ordinary life.
    """
    met = chance.sample(sorted(HAZARDS), chance.choice([0, 1, 2, 3, 3, 4]))
    weights = {"write": 5, "transact": 3, "end": 3, "stream": 4, "verify": 4} | {
        name: HAZARDS[name] for name in met
    }
    operations: list[Operation] = []
    if chance.random() < 0.6:
        operations += [
            *_drawn(chance, "write"),
            *_drawn(chance, "write"),
            ("stream",),
            *_drawn(chance, "verify"),
        ]
    for _ in range(chance.randint(4, 14)):
        (name,) = chance.choices(list(weights), list(weights.values()))
        operations += _drawn(chance, name)
        if name in HAZARDS and chance.random() < 0.4:
            operations += _drawn(chance, "verify")
    operations += [("stream",), ("verify", "new")]
    settings = {
        "starting": chance.choice(["earliest"] * 4 + ["latest"]),
        "most": chance.choice([1_000_000, 1_000_000, 4, 9]),
    }
    return settings, operations


def _drawn(chance: random.Random, name: str) -> list[Operation]:
    """One operation, or a few that belong together."""
    place, topic, percent, at = (
        chance.randrange(12),
        chance.randrange(2),
        chance.choice([20, 50, 80, 100]),
        chance.randrange(2),
    )
    letters = "".join(chance.choices("iiioonex", k=chance.randint(1, 7)))
    pick = chance.choice
    before: list[list[Operation]] = [
        [],
        [("write", place, letters)],
        [("write", place, letters), ("stream",)],
    ]
    lost: list[list[Operation]] = [
        [],
        [("write", place, letters), ("age_out", place, percent, pick(["published", "all"]))],
    ]
    restored: list[list[Operation]] = [
        [("copy",)],
        [("restore", pick(["all", "ledger"]))],
        [
            ("copy",),
            ("write", place, letters),
            ("stream",),
            ("verify", "new"),
            ("restore", "ledger"),
            ("stream",),
        ],
    ]
    table: dict[str, Callable[[], list[Operation]]] = {
        "write": lambda: [("write", place, letters)],
        "transact": lambda: [("write", place, letters, at)],
        "end": lambda: [(pick(["commit", "commit", "abort"]), at)],
        "stream": lambda: [("stream",)],
        "verify": lambda: [("verify", pick(["new", "new", "all"]))],
        "age_out": lambda: [
            *pick(before),
            ("age_out", place, percent, pick(["published", "all"])),
        ],
        "accept": lambda: [
            *pick(lost),
            ("accept", pick([None, None, None, "staged", "committed"])),
            *pick(before),
        ],
        "add_partition": lambda: [("add_partition", topic)],
        "compact": lambda: [
            ("compact", topic, percent, 1 + at),
            *_drawn(chance, pick(["verify", "stream"])),
            ("keep", topic),
        ],
        "kill": lambda: [("stream", pick(KILLS), at)],
        "copy": lambda: pick(restored),
        "cut": lambda: [("stream", pick(KILLS), at), ("cut", chance.randrange(256))],
        "damage": lambda: [
            pick([("damage", place, pick(["delete", "shorten", "flip", "folder"])), ("mend",)])
        ],
        "topic": lambda: [pick([("delete_topic", topic), ("create_topic", topic)])],
    }
    return table[name]()


def replay(base: Path, world: World, settings: Mapping[str, Any], operations: Sequence[Operation]) -> History:
    """Let all of it happen, in an empty folder."""
    shutil.rmtree(base, ignore_errors=True)
    history = History.begin(base, world, settings)
    for operation in operations:
        history.apply(operation)
    return history


def check(base: Path, new_world: Callable[[], World], seeds: Iterable[int]) -> Counter[str]:
    """Replay the history of each seed; returns what came to pass in all of them.

    Raises `DisagreementError` with the seed, and the shortest history found that fails in the same way: its
    settings and operations can be given to `replay`.
    """
    seen: Counter[str] = Counter()
    for seed in seeds:
        settings, operations = drawn(random.Random(seed))
        if (error := _failure(base, new_world, settings, operations, seen)) is not None:
            operations, error = shortened(base, new_world, settings, operations, error)
            raise DisagreementError(
                f"seed {seed}: {settings!r}, {operations!r}\n{type(error).__name__}: {error}"
            ) from error
    return seen


def shortened(
    base: Path,
    new_world: Callable[[], World],
    settings: Mapping[str, Any],
    operations: list[Operation],
    error: Exception,
) -> tuple[list[Operation], Exception]:
    """Take out one operation after another, from the last, as long as the history fails the same way."""
    for index in reversed(range(len(operations))):
        fewer = operations[:index] + operations[index + 1 :]
        found = _failure(base, new_world, settings, fewer, Counter())
        if found is not None and _kind(found) == _kind(error):
            operations, error = fewer, found
    return operations, error


def _failure(
    base: Path,
    new_world: Callable[[], World],
    settings: Mapping[str, Any],
    operations: Sequence[Operation],
    seen: Counter[str],
) -> Exception | None:
    try:
        seen.update(replay(base, new_world(), settings, operations).seen)
    except Exception as error:  # noqa: BLE001, whatever it is, it was not to happen
        return error
    return None


def _kind(error: Exception) -> tuple[type[Exception], str]:
    return type(error), str(error).partition(":")[0]
