"""Micro-batches that are judged together get the same report as one by one."""

import hashlib
import itertools
import json
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from headrace import documents
from headrace.contract import types
from headrace.contract.verdicts import Contract, Field
from headrace.kafka.offsets import OffsetRange
from headrace.kafka.record_batch import RecordBatch
from headrace.ledger.entries import entries, entry_path, read_link
from headrace.ledger.entry import COLUMNS, DataFile, Span
from headrace.ledger.publish import schemas
from headrace.ledger.receipts import key, key_prefix
from headrace.verify import engine, grouping, groups
from headrace.verify.findings import Findings
from headrace.verify.grouping import grouped
from headrace.verify.groups import Group
from headrace.verify.judge import Judge
from headrace.verify.readable import Readable
from headrace.verify.result import Report
from headrace.verify.scope import everything
from ledgers import GAP, MOMENT, Ledger, Record, batch, cluster, forged, others

KINDS = ("events", "quarantine")
CUTS = (4, 7, 8, 13, 18, 24)
RECORDS = CUTS[-1]


def rows(one: Ledger, number: int, kind: str) -> list[dict[str, Any]]:
    """The published rows of a micro-batch, of all its files."""
    return [
        row
        for path in sorted((one.folder.root / kind / f"micro_batch={number}").glob("*.parquet"))
        for row in pq.ParquetFile(path).read().to_pylist()
    ]


def write(
    one: Ledger, number: int, kind: str, *files: list[dict[str, Any]], schema: pa.Schema | None = None
) -> None:
    """Let a micro-batch hold these rows, a file for each list, and sign it.

    The entry says what the files now are.
    """
    place = one.folder.root / kind / f"micro_batch={number}"
    place.mkdir(exist_ok=True)
    for path in place.glob("*.parquet"):
        path.unlink()
    described = []
    for part, own in enumerate(files):
        path = place / f"part-{part}.parquet"
        pq.write_table(
            pa.Table.from_pylist(own, schema or schemas(one.pipeline.contract)[KINDS.index(kind)]), path
        )
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        spans = [Span(topic="t", partition=0, lowest_offset=0, highest_offset=RECORDS, rows=len(own))]
        described.append(DataFile(name=path.name, bytes=path.stat().st_size, sha256=sha256, spans=spans))
    sign(one, number, **{kind: described})


def sign(one: Ledger, number: int, **changes: Any) -> None:
    """Change an entry, and those behind it so that the chain holds."""
    documents.write(
        entry_path(one.folder, number),
        msgspec.structs.replace(read_link(one.folder, number).entry, **changes),
    )
    one.chain(number)


VALUES: dict[str, list[Any]] = {
    "_topic": ["u", None],
    "_partition": [1, None],
    "_offset": [*range(RECORDS + 3), None, -1],
    "_timestamp": [0, 1_000_001, None],
    "_key": [b"", b"other", None],
    "value": ["", "important", "other", None],
    "_value": [b"", b"important"],
    "_headers": [[], [{"key": "a", "value": b"1"}], [{"key": "a\0b", "value": None}]],
    "reason": ["not_utf8", "", None],
    "field": ["value", ""],
}


@dataclass(frozen=True)
class Damage:
    """Something that is done to a ledger.

    What, to which micro-batch, and what else the kind of damage needs.
    """

    what: str
    number: int
    other: int
    kind: str
    which: int
    change: tuple[str, Any]

    def do(self, one: Ledger) -> None:
        """Do it; nothing is done where there is no such row."""
        getattr(self, self.what)(one)

    def take(self, one: Ledger) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """One row of the micro-batch, and the rest; no row is an `IndexError`."""
        own = rows(one, self.number, self.kind)
        return own.pop(self.which % max(len(own), 1)), own

    def alter(self, one: Ledger) -> None:
        """Another value in a row."""
        row, rest = self.take(one)
        column, value = self.change
        write(one, self.number, self.kind, [*rest, {**row, column: value} if column in row else row])

    def remove(self, one: Ledger) -> None:
        """A row is missing."""
        _, rest = self.take(one)
        write(one, self.number, self.kind, rest)

    def double(self, one: Ledger) -> None:
        """A row is there twice."""
        row, rest = self.take(one)
        write(one, self.number, self.kind, [row, *rest, row])

    def copy(self, one: Ledger) -> None:
        """Another micro-batch holds a row as well."""
        row, _ = self.take(one)
        write(one, self.other, self.kind, [*rows(one, self.other, self.kind), row])

    def move(self, one: Ledger) -> None:
        """Another micro-batch holds a row instead."""
        row, rest = self.take(one)
        write(one, self.number, self.kind, rest)
        write(one, self.other, self.kind, [*rows(one, self.other, self.kind), row])

    def swap(self, one: Ledger) -> None:
        """Two micro-batches hold each other's rows."""
        mine, theirs = rows(one, self.number, self.kind), rows(one, self.other, self.kind)
        write(one, self.number, self.kind, theirs)
        write(one, self.other, self.kind, mine)

    def split(self, one: Ledger) -> None:
        """The same rows in two files, in another order: nothing is wrong."""
        own = rows(one, self.number, self.kind)
        write(one, self.number, self.kind, own[self.which % 3 :], own[: self.which % 3][::-1])

    def change_kind(self, one: Ledger) -> None:
        """A kept row becomes a quarantined one, or the other way round."""
        into = KINDS[1 - KINDS.index(self.kind)]
        row, rest = self.take(one)
        write(one, self.number, self.kind, rest)
        write(
            one,
            self.number,
            into,
            [*rows(one, self.number, into), {"reason": "null_value", "value": "important", **row}],
        )

    def change_type(self, one: Ledger) -> None:
        """A column is of another type."""
        schema = schemas(one.pipeline.contract)[KINDS.index(self.kind)]
        write(
            one,
            self.number,
            self.kind,
            rows(one, self.number, self.kind),
            schema=schema.set(2, pa.field("_offset", pa.int32())),
        )

    def lose_file(self, one: Ledger) -> None:
        """A file is gone, or is no file of records."""
        for path in (one.folder.root / self.kind / f"micro_batch={self.number}").glob("*.parquet"):
            if self.which % 2:
                path.unlink()
            else:
                path.write_bytes(b"PAR1")

    def change_counts(self, one: Ledger) -> None:
        """The entry counts a record elsewhere."""
        (account, *_) = read_link(one.folder, self.number).entry.accounts
        up, down = itertools.islice(itertools.cycle(COLUMNS), self.which, self.which + 2)
        changed = msgspec.structs.replace(
            account, **{up: getattr(account, up) + 1, down: getattr(account, down) - 1}
        )
        sign(one, self.number, accounts=[changed])

    def cut_account(self, one: Ledger) -> None:
        """The entry accounts for a topic-partition twice."""
        (account, *_) = read_link(one.folder, self.number).entry.accounts
        first = msgspec.structs.replace(account, until_offset=account.from_offset + 1)
        sign(
            one,
            self.number,
            accounts=[first, msgspec.structs.replace(account, from_offset=account.from_offset + 1)],
        )

    def change_range(self, one: Ledger) -> None:
        """The entry's range does not join the one before."""
        (account, *_) = read_link(one.folder, self.number).entry.accounts
        at = min(max(account.from_offset + self.which % 3 - 1, 0), account.until_offset)
        sign(one, self.number, accounts=[msgspec.structs.replace(account, from_offset=at)])

    def change_filter(self, one: Ledger) -> None:
        """The entry has another filter, or one that can't be read."""
        contract = read_link(one.folder, self.number).entry.contract
        sign(
            one,
            self.number,
            contract=msgspec.structs.replace(
                contract, filter=["value = 'other'", "nonsense("][self.which % 2]
            ),
        )

    def change_rules(self, one: Ledger) -> None:
        """The entry was judged by unknown rules."""
        sign(one, self.number, rules=99)


WHAT = [
    *(
        "alter",
        "alter",
        "alter",
        "remove",
        "double",
        "copy",
        "move",
        "swap",
        "split",
        "change_kind",
        "change_type",
        "lose_file",
    ),
    *("change_counts", "cut_account", "change_range", "change_filter", "change_rules"),
]
damages = st.builds(
    Damage,
    what=st.sampled_from(WHAT),
    number=st.integers(0, len(CUTS) - 1),
    other=st.integers(0, len(CUTS) - 1),
    kind=st.sampled_from(KINDS),
    which=st.integers(0, 9),
    change=st.sampled_from([(column, value) for column, values in VALUES.items() for value in values]),
)


@dataclass(frozen=True)
class World:
    """What Kafka holds, and whether verify has seen it before."""

    records: list[Record]
    first: int = 0
    """Earlier offsets have aged out."""
    end: int = RECORDS
    block: int = 100
    are_gaps_explained: bool = True
    headers: list[tuple[str, bytes | None]] | None = field(default_factory=list)
    doubled: int | None = None
    """Here lies a record that a batch sent a second time."""
    is_proven: bool = False


worlds = st.builds(
    World,
    records=st.lists(
        st.sampled_from([(b"k", b"important"), (b"l", b"other"), (b"m", None), (b"", b"important"), GAP]),
        min_size=RECORDS,
        max_size=RECORDS,
    ),
    first=st.sampled_from([0, 0, 0, 5, 8, 30]),
    end=st.sampled_from([RECORDS, RECORDS, 20]),
    block=st.sampled_from([1, 3, 5, 100]),
    are_gaps_explained=st.booleans(),
    headers=st.sampled_from([[], [], None, [("a", b"1")]]),
    doubled=st.sampled_from([None, None, 2, 20]),
    is_proven=st.booleans(),
)


def seen(report: Report) -> dict[str, Any]:
    """All that a report says of the records, without its own number and moments."""
    return {
        name: getattr(report, name)
        for name in (
            *(
                "state",
                "balance",
                "receipts",
                "invariants",
                "recheck",
                "gaps_not_checked",
                "last_records",
                "quarantine",
                "aged_out",
            ),
            *("kept_per_minute", "samples", "micro_batches", "waiting", "ever"),
        )
    }


def reported(one: Ledger, offsets: int) -> tuple[dict[str, Any], int]:
    """The report on everything with groups of so many offsets, and the progress that was reported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "GROUP_OFFSETS", offsets)
        verification = one.verification(everything(one.folder))
        passed: list[int] = []
        verification.on_progress = passed.append
        try:
            report = verification.run("a test")
        except Exception as error:  # noqa: BLE001 whatever it is, it must be the same
            return {"raised": repr(error)}, 0
    waiting = msgspec.structs.replace(report.waiting, oldest_seconds=None)
    return {**seen(report), "waiting": waiting}, passed[-1] if passed else 0


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(world=worlds, damages=st.lists(damages, max_size=3))
def test_a_report_is_the_same_with_groups_and_without(world: World, damages: list[Damage]) -> None:
    """Findings with words and places, what was checked, what is rechecked, what aged out, and progress."""
    with tempfile.TemporaryDirectory() as base, pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        records = [*world.records[:9], *batch("run", 4), *world.records[13:]]
        if world.doubled is not None:
            records[world.doubled] = (key(key_prefix("p", "run"), 1), b"important")
        one = Ledger.made(Path(base), records, CUTS)
        one.receipt("run", 9, 12)
        if world.are_gaps_explained:
            one.kafka.batches = [
                RecordBatch(
                    at, at, is_control=True, is_transactional=True, producer_id=1, records=1, is_abort=True
                )
                for at, record in enumerate(records)
                if record is GAP
            ]
        if world.is_proven:
            one.look()
        for damage in damages:
            with suppress(IndexError):
                damage.do(one)
        one.kafka.first, one.kafka.block, one.kafka.headers = world.first, world.block, world.headers
        one.kafka.records = [*records, *[GAP] * world.first][: max(world.end, world.first)]
        alone = reported(one, 0)
        assert reported(one, 100_000) == alone
        assert reported(one, 9) == alone


def test_what_is_right_is_read_once(tmp_path: Path) -> None:
    """Micro-batches that follow each other are read together.

    Only one that is damaged is read again, alone.
    """
    one = Ledger.made(tmp_path, others(30), [5, 10, 15, 20, 25, 30])
    assert one.verify() == {}
    assert one.kafka.reads == [OffsetRange("t", 0, 0, 30)]
    one.kafka.reads.clear()
    one.tamper(3, forged, sign=True)
    assert "I4" in one.verify(one.everything)
    last = OffsetRange("t", 0, 29, 30)  # whether it is still the record that was verified
    assert one.kafka.reads == [last, OffsetRange("t", 0, 0, 30), OffsetRange("t", 0, 15, 20)]


def test_rows_that_take_too_much_memory_are_left_to_the_slower_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small files may hold large rows; the micro-batches that do not fit are judged one by one."""
    one = Ledger.made(tmp_path, others(30), [10, 20, 30])
    monkeypatch.setattr(groups, "ROWS_BYTES", 400)
    assert one.verify() == {}
    assert one.kafka.reads == [
        OffsetRange("t", 0, 0, 30),
        OffsetRange("t", 0, 10, 20),
        OffsetRange("t", 0, 20, 30),
    ]


def test_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By offsets and by the files' bytes.

    Another contract, or a micro-batch between that is left out, begins a new group.
    """
    one = Ledger.made(tmp_path, others(60), [10, 20, 30, 40, 50, 60])

    def numbers() -> list[list[int]]:
        return [[entry.number for entry in group] for group in grouped(entries(one.folder))]

    assert numbers() == [[0, 1, 2, 3, 4, 5]]
    contract = read_link(one.folder, 2).entry.contract
    sign(one, 2, contract=msgspec.structs.replace(contract, filter="value = 'other'"))
    assert numbers() == [[0, 1], [2], [3, 4, 5]]
    assert [
        [entry.number for entry in group]
        for group in grouped([entries(one.folder)[each] for each in (0, 1, 3, 5)])
    ] == [
        [0, 1],
        [3],
        [5],
    ]
    monkeypatch.setattr(grouping, "GROUP_OFFSETS", 20)
    assert numbers() == [[0, 1], [2], [3, 4], [5]]
    monkeypatch.setattr(grouping, "GROUP_BYTES", 1)
    assert numbers() == [[0], [1], [2], [3], [4], [5]]


def test_every_type_can_be_compared(tmp_path: Path) -> None:
    """No type is such that the two sides never are equal.

    That would leave all micro-batches to the slower way, unseen.
    """
    fields = tuple(Field(f"{each}_", each, required=False) for each in types.TYPES.values())
    contract = Contract(format="json", fields=fields, filter="int_ = 2")
    values = {"string_": "s", "int_": 2, "bigint_": 3, "double_": 1.5, "boolean_": True}
    sent = json.dumps({**values, "timestamp_": "2026-01-01T00:00:00Z"}).encode()
    one = Ledger.made(tmp_path, [(b"k", sent)], [1])
    row = {
        "_topic": "t",
        "_partition": 0,
        "_offset": 0,
        "_timestamp": 1_000_000,
        "_key": b"k",
        **values,
        "timestamp_": MOMENT,
    }
    write(one, 0, "events", [row], schema=schemas(contract)[0])
    sign(one, 0, contract=contract)
    entry = read_link(one.folder, 0).entry
    group = Group(
        one.folder,
        [entry],
        Readable(cluster({0: 0}, {0: 1}), None, Findings()),
        Judge(contract, engine.connect()),
    )
    for block in one.kafka.read(OffsetRange("t", 0, 0, 1)):
        group.compare(block, OffsetRange("t", 0, 0, 1))
    assert group.doubted == set()
