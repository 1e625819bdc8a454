"""What verify must say, found out another way.

From the broker's log, the files on disk, and what earlier verify runs could read.

Nothing of `headrace` is called here. JSON is read as JSON and Parquet as a reader would read it. What the
files can't know is kept in `Knowledge` (which micro-batches a verify run read while Kafka had their records)
and in `Oracle.memory` (what each offset ever held).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Record = tuple[bytes | None, bytes | None]
Place = tuple[str, int]
Row = tuple[str, int, int, bytes | None]
"""Topic, partition, offset and value."""
Span = tuple[str, int, int, int]
"""Topic, partition, first offset, and the offset after the last."""
Offset = tuple[str, int, int]
"""Topic, partition and offset."""


@dataclass(frozen=True)
class Log:
    """One partition, as the broker has it now.

    Attributes:
        records: What a committed reader gets.
        explained: Offsets that a marker or an aborted record takes, by what the log itself still says.
    """

    first: int
    stable: int
    last: int
    records: Mapping[int, Record]
    explained: frozenset[int]


@dataclass(frozen=True)
class Broker:
    """All of the broker's logs, with the topics' ids and those that are compacted."""

    ids: Mapping[str, str]
    logs: Mapping[Place, Log]
    compacted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Acceptance:
    """What an acceptance must have written, by what was known when it was."""

    lost: frozenset[Offset]
    unproven: frozenset[Offset]


@dataclass
class Named:
    """A micro-batch that a red report named.

    Attributes:
        by_files: Whether it was, each time, because its entry or files were missing or others.
        proven: Whether it was proven before.
    """

    by_files: bool
    proven: bool


@dataclass
class Knowledge:
    """What earlier verify runs have left behind.

    Attributes:
        marks: Where verify has been, with the SHA-256 of the entry: micro-batches up to the last are proven
            but for those in `named`.
        last: Per partition the last record that was read, and its offset.
    """

    marks: list[tuple[int, str]] = field(default_factory=list)
    named: dict[int, Named] = field(default_factory=dict)
    last: dict[Place, tuple[int, Record]] = field(default_factory=dict)

    @property
    def mark(self) -> int:
        """The last, or -1."""
        return self.marks[-1][0] if self.marks else -1

    def move(self, number: int, sha256: str) -> None:
        """Move the mark.

        Of those before it the closer ones are remembered, about one in each power of two.
        """
        kept, least = [(number, sha256)], 1
        for each in reversed(self.marks):
            if number - each[0] >= least:
                kept.append(each)
                least = 2 * (number - each[0])
        self.marks = kept[::-1]

    def roll_back(self, disk: "Disk") -> None:
        """A stream opened a ledger that ends before what was proven, or at another entry."""
        newest, there = disk.newest, dict(zip(disk.published, disk.sha256s, strict=True))
        if max([self.mark, *self.named]) > newest or (
            self.marks and self.mark == newest and self.marks[-1][1] != there[newest]
        ):
            self.marks = [each for each in self.marks if there.get(each[0]) == each[1]]
            self.named = {number: each for number, each in self.named.items() if number <= newest}
            for number, each in self.named.items():
                each.proven &= number <= self.mark
            self.last = {
                place: each for place, each in self.last.items() if each[0] < disk.ends.get(place, 0)
            }


@dataclass
class Expected:
    """What a verify run is to say; `red` holds the reasons, for people."""

    red: list[str] = field(default_factory=list)
    waiting: dict[Place, tuple[int, int, int]] = field(default_factory=dict)
    """First offset, the one after the last, and how many of them an open transaction hides."""
    lost: set[Span] = field(default_factory=set)
    unproven: set[tuple[int, Span]] = field(default_factory=set)
    removed: set[Offset] = field(default_factory=set)
    """Gaps within what was published that nothing explains, and that were there when it was."""
    accepted_lost: Counter[Place] = field(default_factory=Counter)
    """In the balance of what is looked at."""
    gaps: Counter[Place] = field(default_factory=Counter)
    scope: set[int] = field(default_factory=set)
    doubted: bool = False
    by_files: set[int] = field(default_factory=set)
    by_others: set[int] = field(default_factory=set)
    last: dict[Place, tuple[int, Record]] = field(default_factory=dict)

    @property
    def named(self) -> set[int]:
        """Micro-batches that the report is to name."""
        return self.by_files | self.by_others


class Disk:
    """A pipeline's folder, as it lies there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.identity: Any = (
            json.loads((root / "identity.json").read_text()) if (root / "identity.json").exists() else None
        )
        names = [path.name.removeprefix("micro_batch=") for path in (root / "events").glob("micro_batch=*")]
        self.published = sorted(int(name) for name in names if name.isdecimal())
        self.entries: dict[int, Any] = {
            number: json.loads((root / f"events/micro_batch={number}/_entry.json").read_bytes())
            for number in self.published
        }
        entries = [
            (root / f"events/micro_batch={number}/_entry.json").read_bytes() for number in self.published
        ]
        self.sha256s = [hashlib.sha256(entry).hexdigest() for entry in entries]
        self.commits = self._log("commits")
        self.plans = self._log("offsets")
        metadata = root / "checkpoint" / "metadata"
        self.checkpoint: str | None = (
            json.loads(metadata.read_text())["id"] if metadata.exists() and metadata.read_text() else None
        )

    @property
    def newest(self) -> int:
        """Number of the newest entry, or -1."""
        return self.published[-1] if self.published else -1

    @property
    def missing(self) -> set[int]:
        """Micro-batches before the newest whose folders are gone."""
        return set(range(self.newest + 1)) - set(self.published)

    @property
    def unnamed(self) -> set[int]:
        """Micro-batches that have quarantined records and no entry.

        Their stream was killed, or their folder removed.
        """
        names = [
            path.name.removeprefix("micro_batch=")
            for path in (self.root / "quarantine").glob("micro_batch=*")
        ]
        return {int(name) for name in names if name.isdecimal()} - set(self.published)

    @property
    def ends(self) -> dict[Place, int]:
        """Where the ledger ends, which is where it starts in partitions without any entry."""
        found = dict(_places(self.identity["start"])) if self.identity else {}
        return found | (dict(_places(self.entries[self.newest]["offsets"])) if self.published else {})

    def plan(self, number: int) -> dict[Place, int]:
        """Where a micro-batch ends by Spark's plan."""
        return dict(
            _places(
                json.loads((self.root / "checkpoint" / "offsets" / str(number)).read_text().splitlines()[-1])
            )
        )

    def files(self, number: int) -> list[tuple[Path, Any]]:
        """The data files that an entry names."""
        entry = self.entries[number]
        return [
            (self.root / kind / f"micro_batch={number}" / each["name"], each)
            for kind in ("events", "quarantine")
            for each in entry[kind]
        ]

    def is_altered(self, number: int, *, to_the_byte: bool) -> bool:
        """Whether a data file of a micro-batch is missing or another.

        By size and rows, or by its checksum as well.
        """
        for path, said in self.files(number):
            if not path.exists() or path.stat().st_size != said["bytes"]:
                return True
            try:
                rows = pq.read_metadata(path).num_rows
            except (pa.ArrowException, OSError):
                return True
            if rows != sum(span["rows"] for span in said["spans"]):
                return True
            if to_the_byte and hashlib.sha256(path.read_bytes()).hexdigest() != said["sha256"]:
                return True
        return False

    def rows(self, kind: str, number: int) -> list[Row]:
        """The position and value of all rows that a reader finds in a micro-batch's folder."""
        found = []
        for path in (self.root / kind / f"micro_batch={number}").glob("*.parquet"):
            table = pq.ParquetFile(path).read()
            values = table.column("value" if kind == "events" else "_value").to_pylist()
            position = [table.column(name).to_pylist() for name in ("_topic", "_partition", "_offset")]
            values = [value.encode() if isinstance(value, str) else value for value in values]
            found += list(zip(*position, values, strict=True))
        return found

    def _log(self, name: str) -> list[int]:
        return sorted(
            int(path.name) for path in (self.root / "checkpoint" / name).glob("*") if path.name.isdecimal()
        )


class Oracle:
    """Says what verify must say about one pipeline's folder."""

    def __init__(self, root: Path, topics: Iterable[str], starting: str) -> None:
        self.root = root
        self.topics = set(topics)
        self.starting = starting
        self.knowledge = Knowledge()
        self.memory: dict[tuple[str, int], dict[int, Record | None]] = {}
        """By topic id and partition: what each offset that was ever stable held for a committed reader when
        it first was."""
        self.accepted: dict[str, Acceptance] = {}
        """By the SHA-256 of the entry that holds it: a copy that is put back holds its own."""
        self.removed: set[Place] = set()
        """Partitions from which compaction has removed a record: how many gaps an entry counts there depends
        on when that was."""

    def look(self, broker: Broker) -> None:
        """Remember what the broker holds; called after whatever happens."""
        for (topic, partition), log in broker.logs.items():
            held = self.memory.setdefault((broker.ids[topic], partition), {})
            for offset in range(log.first, log.stable):
                if held.setdefault(offset, log.records.get(offset)) and offset not in log.records:
                    self.removed.add((topic, partition))

    def copied(self) -> Knowledge:
        """What is known at this moment, for a copy of the folder."""
        return deepcopy(self.knowledge)

    def expect(self, broker: Broker, *, whole: bool) -> Expected:
        """What a verify run that looks now is to say.

        Args:
            whole: Whether it looks at all that was ever published, or at what is new and what was red.
        """
        disk, found = Disk(self.root), Expected()
        following = disk.ends if disk.identity else self._before_the_first(broker)
        self._chain(disk, found, whole=whole)
        self._topics(disk, broker, found)
        for number in sorted(found.scope & set(disk.published)):
            self._micro_batch(number, disk, broker, found)
        for number in sorted(set(disk.published) - found.scope):
            if disk.is_altered(number, to_the_byte=False):
                found.red.append(f"files of {number}")
                found.by_files.add(number)
        self._frontier(disk, following, broker, found)
        found.by_files = {
            number for number in found.by_files if number <= disk.newest or number in found.scope
        }
        return found

    def acceptable(self, broker: Broker) -> Acceptance | None:
        """What can be accepted now; `None` where it is refused to say."""
        disk = Disk(self.root)
        if disk.identity is None or disk.missing:
            return None
        found = self.expect(broker, whole=False)
        if found.doubted:
            return None
        lost = {offset for span in found.lost for offset in _offsets(span)} | found.removed
        return Acceptance(
            frozenset(lost),
            frozenset(offset for _, span in found.unproven for offset in _offsets(span)) - lost,
        )

    def may_accept(self) -> bool:
        """Whether an entry can be written behind the last.

        What a rolled back ledger does not hold is forgotten, then.
        """
        disk = Disk(self.root)
        if not self._belongs_together(disk):
            return False
        self.knowledge.roll_back(disk)
        return True

    def remember(self, acceptance: Acceptance) -> None:
        """The newest entry is this acceptance."""
        self.accepted[Disk(self.root).sha256s[-1]] = acceptance

    def ever(self) -> Acceptance:
        """All that was accepted, by the entries that are there."""
        there = [self.accepted[each] for each in Disk(self.root).sha256s if each in self.accepted]
        return Acceptance(
            *(frozenset(o for each in there for o in getattr(each, kind)) for kind in ("lost", "unproven"))
        )

    def settle(self, found: Expected) -> None:
        """Remember what a verify run has proven, and what it named."""
        disk, known = Disk(self.root), self.knowledge
        doubted = found.doubted or (known.mark >= 0 and known.mark not in disk.published)
        good = set() if doubted else (found.scope & set(disk.published)) - found.named
        named = {number: each for number, each in known.named.items() if number not in good}
        for number in found.named:
            before = named.get(number)
            named[number] = Named(
                by_files=number in found.by_files and (before is None or before.by_files),
                proven=before.proven if before else number <= known.mark,
            )
        known.named = named
        if not doubted:
            if (mark := max([known.mark, *good])) > known.mark:
                known.move(mark, disk.sha256s[disk.published.index(mark)])
            for place, each in found.last.items():
                known.last[place] = max(known.last.get(place, each), each, key=lambda read: read[0])

    def may_stream(self, broker: Broker) -> bool:
        """Whether a stream that starts now may go on.

        What it is to forget, should the ledger have been rolled back, is forgotten.
        """
        disk = Disk(self.root)
        if disk.identity is None:
            is_hidden = any(
                broker.logs[place].stable < at for place, at in self._before_the_first(broker).items()
            )
            return set(broker.ids) == self.topics and not broker.compacted and not is_hidden
        if not self._belongs_together(disk):
            return False
        if broker.compacted or any(
            broker.ids.get(topic) != known for topic, known in disk.identity["topics"].items()
        ):
            return False
        if any(
            broker.logs[place].first > at or broker.logs[place].stable < at for place, at in disk.ends.items()
        ):
            return False
        self.knowledge.roll_back(disk)
        return not any(log.first > 0 for place, log in broker.logs.items() if place not in disk.ends)

    def _belongs_together(self, disk: Disk) -> bool:
        """Whether ledger and checkpoint are of one time, torn files aside that nothing relies on."""
        noted = [
            number for number in disk.commits if number > disk.newest or not self._is_torn("commits", number)
        ]
        plans = [
            number
            for number in disk.plans
            if number != disk.newest + 1 or not self._is_torn("offsets", number)
        ]
        last_commit, last_plan = max(noted, default=-1), max(plans, default=-1)
        can_begin_again = (
            disk.newest < 0 and not disk.commits and not any(disk.plans) and disk.checkpoint is None
        )
        if disk.missing or (
            disk.identity["checkpoint"] not in {None, disk.checkpoint} and not can_begin_again
        ):
            return False
        return last_commit <= disk.newest <= last_plan <= disk.newest + 1

    def broken_promise(self, found: Expected) -> str | None:
        """What is not accounted for by the rows on disk, though a report was green; `None` if nothing is.

        What each offset held is taken from memory, whatever Kafka has left of it. A file that was altered
        after it was proven may be green until it is looked at again: such a micro-batch is passed over.
        """
        disk = Disk(self.root)
        if disk.identity is None:
            return None
        lost = self.ever().lost
        skipped = {
            number
            for number in disk.published
            if number not in found.scope and disk.is_altered(number, to_the_byte=True)
        }
        rows: dict[str, Counter[Row]] = {
            kind: Counter(
                row for number in disk.published if number not in skipped for row in disk.rows(kind, number)
            )
            for kind in ("events", "quarantine")
        }
        for place, start in _places(disk.identity["start"]):
            held = self.memory.get((disk.identity["topics"][place[0]], place[1]), {})
            for offset in range(start, disk.ends[place]):
                if (*place, offset) in lost or any(
                    offset in range(*span)
                    for number in skipped
                    for span in _spans(disk.entries[number], place)
                ):
                    continue
                if offset not in held:
                    return f"{place} {offset} is published, and was never seen in Kafka"
                record = held[offset]
                verdict = judged(record[1]) if record else None
                for kind, wanted in (("events", "kept"), ("quarantine", "quarantined")):
                    if verdict == wanted and record and rows[kind].pop((*place, offset, record[1]), 0) != 1:
                        return f"{place} {offset} was {verdict}, and is not in the files once"
        if any(rows.values()):
            return f"rows that no record stands for: {rows}"
        return None

    def _before_the_first(self, broker: Broker) -> dict[Place, int]:
        return {
            place: log.first if self.starting == "earliest" else max(log.first, log.stable)
            for place, log in broker.logs.items()
        }

    def _chain(self, disk: Disk, found: Expected, *, whole: bool) -> None:
        """What is to be looked at, and whether the micro-batches are there, up to the checkpoint's end."""
        known = self.knowledge
        found.scope = {number for number in disk.published if whole or number > known.mark} | set(known.named)
        if disk.identity is None:
            return
        gone = disk.missing | {number for number in found.scope if number > disk.newest}
        if known.mark > disk.newest:
            found.red.append("what was proven is gone")
        if disk.identity["checkpoint"] != disk.checkpoint and not (
            disk.identity["checkpoint"] is None and disk.newest < 0
        ):
            found.red.append("another checkpoint")
            found.doubted = True
        elif disk.commits and disk.commits[-1] > disk.newest:
            gone.add(disk.commits[-1])
        elif disk.newest >= 0 and disk.newest not in disk.plans:
            found.red.append("no plan")
            found.doubted = True
        elif disk.newest >= 0 and {**disk.ends, **disk.plan(disk.newest)} != disk.ends:
            gone.add(disk.newest)
        gone |= disk.unnamed
        found.by_files |= gone
        found.red += [f"micro-batch {number} is not there as a whole" for number in gone]
        if not disk.published and not disk.commits:
            found.red.append("the first stream published nothing")

    def _topics(self, disk: Disk, broker: Broker, found: Expected) -> None:
        """Whether the topics are the ledger's, and hold in the last place what was read there."""
        if disk.identity is None:
            return
        for topic, known in disk.identity["topics"].items():
            if broker.ids.get(topic) != known:
                found.red.append(f"another {topic}")
                found.doubted = True
            elif topic in broker.compacted:
                found.red.append(f"{topic} is compacted")
        for place, (offset, record) in self.knowledge.last.items():
            log = broker.logs.get(place)
            if (
                log
                and broker.ids[place[0]] == disk.identity["topics"][place[0]]
                and log.records.get(offset, record) != record
            ):
                found.red.append(f"another record at {place} {offset}")
                found.doubted = True

    def _micro_batch(self, number: int, disk: Disk, broker: Broker, found: Expected) -> None:
        """Hold one micro-batch against the broker's log, or, where it is gone, against what was proven."""
        if altered := disk.is_altered(number, to_the_byte=True):
            found.red.append(f"files of {number}")
            found.by_files.add(number)
        wanted: dict[str, set[Row]] = {"kept": set(), "quarantined": set()}
        before_removed, gaps_now = set(found.removed), 0
        if self.accepted.get(disk.sha256s[disk.published.index(number)]):
            before = disk.entries.get(number - 1, {"offsets": {}})["offsets"]
            for topic, partition, offset in self.accepted[disk.sha256s[disk.published.index(number)]].lost:
                found.accepted_lost[topic, partition] += offset >= before.get(topic, {}).get(
                    str(partition), 0
                )
        for account in disk.entries[number]["accounts"]:
            counts = self._account(number, account, disk, broker, found, wanted)
            if any(
                counts[column] != account[column] for column in ("kept", "filtered", "quarantined", "gaps")
            ):
                found.by_others.add(number)
                found.red.append(f"{number} counts {account}, there are {counts}")
            gaps_now += counts["readable gaps"]
        if gaps_now > sum(account["gaps"] for account in disk.entries[number]["accounts"]):
            found.removed = before_removed
        if (
            not altered
            and {
                "kept": set(disk.rows("events", number)),
                "quarantined": set(disk.rows("quarantine", number)),
            }
            != wanted
        ):
            found.by_others.add(number)
            found.red.append(f"{number} has other rows")

    def _account(
        self,
        number: int,
        account: Any,
        disk: Disk,
        broker: Broker,
        found: Expected,
        wanted: Mapping[str, set[Row]],
    ) -> Counter[str]:
        """What a range holds: by the log where the broker has it, by memory before that.

        Adds the rows that are to be in the files.
        """
        place, at, until = (
            (account["topic"], account["partition"]),
            account["from_offset"],
            account["until_offset"],
        )
        held = self.memory.get((disk.identity["topics"][place[0]], place[1]), {})
        log = (
            broker.logs.get(place) if broker.ids.get(place[0]) == disk.identity["topics"][place[0]] else None
        )
        first = min(max(log.first, at), until) if log and log.stable >= until else until
        ever = self.ever()
        if not self._was_proven(number):
            for low, high in _stretches(
                o for o in range(at, first) if (*place, o) not in ever.lost | ever.unproven
            ):
                found.unproven.add((number, (*place, low, high)))
                found.by_others.add(number)
                found.red.append(f"{number} is unproven")
        removed: set[Offset] = set()
        counts: Counter[str] = Counter()
        was_proven = self._was_proven(number)
        for offset in range(at, until):
            record = log.records.get(offset) if log and offset >= first else held.get(offset)
            was_removed = bool(log and offset >= first and not record and offset not in log.explained)
            if was_removed and was_proven:
                record = held.get(offset)
            verdict = judged(record[1]) if record else "gaps"
            counts[verdict] += 1
            counts["readable gaps"] += verdict == "gaps" and offset >= first
            if record and verdict in wanted:
                wanted[verdict].add((*place, offset, record[1]))
            if record and offset >= first and not was_removed:
                found.last[place] = (offset, record)
            if was_removed and not was_proven and (*place, offset) not in ever.lost:
                removed.add((*place, offset))
                found.by_others.add(number)
                found.red.append(f"{place} {offset} was removed")
        found.removed |= removed
        lost = sum((*place, offset) in ever.lost for offset in range(at, until))
        found.accepted_lost[place] += lost
        if place not in self.removed:
            found.gaps[place] += sum(held.get(offset) is None for offset in range(at, until)) - lost
        return counts

    def _was_proven(self, number: int) -> bool:
        """Whether an earlier verify read it, and nothing but its files was found to be wrong since."""
        named = self.knowledge.named.get(number)
        return number <= self.knowledge.mark and (named is None or (named.proven and named.by_files))

    def _frontier(self, disk: Disk, following: Mapping[Place, int], broker: Broker, found: Expected) -> None:
        for place, log in broker.logs.items():
            if (
                disk.identity
                and disk.identity["topics"].get(place[0], broker.ids[place[0]]) != broker.ids[place[0]]
            ):
                continue
            at = following.get(place, 0)
            if log.first > at:
                found.lost.add((*place, at, log.first))
                found.red.append(f"{place} lost {at} to {log.first}")
            at = max(at, log.first)
            if log.last > at:
                found.waiting[place] = (
                    at,
                    log.last,
                    log.last - max(log.stable, at) if log.stable < log.last else 0,
                )

    def _is_torn(self, name: str, number: int) -> bool:
        return (self.root / "checkpoint" / name / str(number)).stat().st_size == 0


def judged(value: bytes | None) -> str:
    """The verdict on a record by the filter of these histories: text that holds "important"."""
    if value is None:
        return "quarantined"
    try:
        return "kept" if "important" in value.decode() else "filtered"
    except UnicodeDecodeError:
        return "quarantined"


def log_of(batches: Iterable[Any], first: int, last: int, open_since: Iterable[int]) -> Log:
    """A partition's log, read front to back.

    Records of a transaction are held back until its marker says what becomes of them.

    Args:
        batches: with `base`, `last`, `records`, `producer` (-1 without a transaction) and `marker` (its
            `value` is a word), in order
        first: the log's first offset
        last: the next offset
        open_since: where open transactions begin
    """
    stable = max(first, min(open_since, default=last))
    records: dict[int, Record] = {}
    explained: set[int] = set()
    held: dict[int, list[Any]] = {}
    for batch in batches:
        if batch.marker is not None:
            explained.update(range(batch.base, batch.last + 1))
            for each in held.pop(batch.producer, []):
                if batch.marker.value == "commit":
                    records.update(each.records)
                elif batch.marker.value == "abort" and each.records:
                    explained.update(range(each.base, each.last + 1))
        elif batch.producer < 0:
            records.update(batch.records)
        else:
            held.setdefault(batch.producer, []).append(batch)
    there = range(first, stable)
    return Log(
        first,
        stable,
        last,
        {o: records[o] for o in sorted(records) if o in there},
        frozenset(explained.intersection(there)),
    )


def _places(positions: Mapping[str, Mapping[str, int]]) -> Iterable[tuple[Place, int]]:
    return [
        ((topic, int(partition)), offset)
        for topic, partitions in positions.items()
        for partition, offset in partitions.items()
    ]


def _offsets(span: Span) -> Iterable[Offset]:
    topic, partition, at, until = span
    return [(topic, partition, offset) for offset in range(at, until)]


def _stretches(offsets: Iterable[int]) -> list[tuple[int, int]]:
    """Offsets in order, as first ones and the ones after the last, where they follow each other."""
    found: list[tuple[int, int]] = []
    for offset in offsets:
        found.append(
            (found.pop()[0], offset + 1) if found and found[-1][1] == offset else (offset, offset + 1)
        )
    return found


def _spans(entry: Any, place: Place) -> list[tuple[int, int]]:
    return [
        (each["from_offset"], each["until_offset"])
        for each in entry["accounts"]
        if (each["topic"], each["partition"]) == place
    ]
