"""After a power cut at any moment, whatever the disk kept.

The next stream goes on, verify is green, and each record is there once.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyspark
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions
from pyspark.sql import SparkSession

from headrace import documents
from headrace.ledger.folder import Folder
from headrace.ledger.identity import Identity
from power_cuts import (
    NAME,
    OBSERVABLE,
    RECORDS,
    STREAMS,
    Contents,
    History,
    Observed,
    Who,
    observed,
    recorded,
    recorded_version,
    two_streams,
)
from readers import Position, with_duckdb
from slices import TEXT, Slice, broken

SPREAD = 12
"""How many states are tried if not all are."""

ALL = os.environ.get("HEADRACE_TEST_ALL_POWER_CUTS") == "1"
"""Try all states: it takes about a quarter of an hour. Otherwise a fixed spread of them is tried."""


@dataclass(frozen=True)
class Finished:
    """A pipeline after its two streams."""

    one: Slice
    seen: Observed
    kept: Counter[Position]
    quarantined: Counter[Position]
    after_first: Path
    """A copy of its folder between the two streams."""
    places: Iterator[int]

    def copied(self, source: Path) -> Slice:
        """A copy of a folder, as a pipeline that reads the same topic."""
        one = self.place()
        shutil.copytree(source, one.folder.root)
        return one

    def place(self) -> Slice:
        """The pipeline with a folder that is not there yet."""
        base = self.after_first.parent / f"state-{next(self.places)}"
        return Slice(self.one.pipeline, Folder(base / NAME), self.one.servers)

    def wrong(self, one: Slice) -> str | None:
        """Go on with a folder; what is wrong then."""
        try:
            try:
                one.stream("after")
            except Exception:  # noqa: BLE001, it may fail once, and say what it removed
                one.stream("again")
            return self._wrong(one)
        except Exception as error:  # noqa: BLE001, each of many states is tried
            return f"{type(error).__name__}: {error}".partition("\n")[0]

    def _wrong(self, one: Slice) -> str | None:
        if red := broken(one.verify(all_of_it=True)):
            return f"verify is red: {red}"
        kept, quarantined = (
            Counter(with_duckdb(kind)) for kind in (one.folder.events, one.folder.quarantine)
        )
        return None if (kept, quarantined) == (self.kept, self.quarantined) else "a reader sees other records"


@pytest.fixture(scope="module")
def finished(broker: str, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two streams of a new pipeline, watched."""
    assert spark
    base = tmp_path_factory.mktemp("power_cuts")
    one = Slice.make(base, broker, NAME, TEXT, "cut-")
    after_first = base / "after_first"
    with observed(one.folder.root) as seen:
        for name in two_streams(one):
            if name == STREAMS[1]:
                shutil.copytree(one.folder.root, after_first)
    kept, quarantined = (Counter(with_duckdb(kind)) for kind in (one.folder.events, one.folder.quarantine))
    assert set(kept.values()) == set(quarantined.values()) == {1}
    return Finished(one, seen, kept, quarantined, after_first, iter(range(10_000)))


def test_the_recorded_operations_are_those_of_today(finished: Finished) -> None:
    """Spark's are those of its version, ours are watched.

    If they differ on purpose, run record_operations.py.
    """
    assert recorded_version() == pyspark.__version__
    operations = [each for name in STREAMS for each in recorded()[name]]
    ours = [str(each) for each in operations if each.who == Who.HEADRACE and each.kind in OBSERVABLE]
    assert [str(each) for each in finished.seen.operations] == ours


@pytest.mark.timeout(3600 if ALL else 300)
def test_a_cut_at_any_operation(finished: Finished) -> None:
    """Of each state that differs for a stream.

    It, or a second try, goes on, and every record is there once.
    """
    history = History([each for name in STREAMS for each in recorded()[name]])
    contents = Contents(history, finished.one.folder.root, finished.seen)
    states = history.states()
    tried = states if ALL else states[:: len(states) // SPREAD + 1]
    failed = {}
    for state in tried:
        one = finished.place()
        contents.build(state, one.folder.root.parent)
        if wrong := finished.wrong(one):
            failed[state.cut] = wrong
        shutil.rmtree(one.folder.root.parent)
    assert failed == {}


def damaged(one: Slice, content: bytes | None, *names: str) -> None:
    """Let files of the checkpoint be absent, or have this content."""
    for name in names:
        path = one.folder.checkpoint / name
        path.unlink()
        if content is not None:
            path.write_bytes(content)


def unpublished(one: Slice, *, identified: bool) -> None:
    """Take the first micro-batch back to where Spark had planned it and nothing of it was published."""
    shutil.rmtree(one.folder.published(one.folder.events, 0))
    shutil.rmtree(one.folder.published(one.folder.quarantine, 0))
    one.folder.streamed.unlink()
    for path in (one.folder.checkpoint / "commits").iterdir():
        path.unlink()
    if not identified:
        identity = documents.read(one.folder.identity, Identity)
        documents.write(one.folder.identity, msgspec.structs.replace(identity, checkpoint=None))


CONTENTS = pytest.mark.parametrize("content", [b"", bytes(29), None], ids=["empty", "NULs", "absent"])


@CONTENTS
@pytest.mark.parametrize(
    "names", [["commits/0", "sources/0/0"], ["commits/0"], ["sources/0/0"], ["metadata"]], ids=" and ".join
)
def test_the_power_fails_after_the_first_stream(
    finished: Finished, names: list[str], content: bytes | None
) -> None:
    """Its note that the micro-batch is done and the start of its source were never synced.

    Its id was, once identity.json named it.
    """
    one = finished.copied(finished.after_first)
    damaged(one, content, *names)
    assert finished.wrong(one) is None


@CONTENTS
@pytest.mark.parametrize("names", [["commits/1"], ["commits/0", "commits/1"]], ids=" and ".join)
def test_the_power_fails_after_a_later_stream(
    finished: Finished, names: list[str], content: bytes | None
) -> None:
    """Notes of several micro-batches may be lost."""
    one = finished.copied(finished.one.folder.root)
    damaged(one, content, *names)
    assert finished.wrong(one) is None


@pytest.mark.parametrize("identified", [True, False])
@pytest.mark.parametrize("content", [b"", bytes(29)], ids=["empty", "NULs"])
@pytest.mark.parametrize("name", ["metadata", "offsets/0", "sources/0/0"])
def test_the_power_fails_before_anything_is_published(
    finished: Finished, name: str, content: bytes, *, identified: bool
) -> None:
    """Whether or not identity.json names the checkpoint already."""
    one = finished.copied(finished.after_first)
    unpublished(one, identified=identified)
    damaged(one, content, name)
    assert finished.wrong(one) is None


def test_a_driver_dies_while_spark_writes_its_first_plan(finished: Finished) -> None:
    """The temporary file that it leaves makes Spark refuse the checkpoint for good, without any power cut."""
    one = finished.copied(finished.after_first)
    unpublished(one, identified=False)
    plan = one.folder.checkpoint / "offsets" / "0"
    plan.rename(plan.with_name(".0.4d1fb7f2-2a0b-4b3c-9f0e-1b6f0f5b2c11.tmp"))
    assert finished.wrong(one) is None


def test_a_partition_joins_after_a_cut_that_lost_the_start_of_the_source(
    new_slice: Callable[..., Slice],
) -> None:
    """The restart names the new partition, too, which the first plan does not: Spark takes it for deleted."""
    one = new_slice()
    one.write(RECORDS)
    one.stream("first")
    unpublished(one, identified=True)
    damaged(one, None, "sources/0/0")
    client = AdminClient({"bootstrap.servers": one.servers})
    client.create_partitions([NewPartitions(one.topic, 4)])[one.topic].result(30)
    one.write([(b"key", b"important")] * 10, partition=3)
    one.stream("second")
    assert broken(one.verify()) == {}
    assert sum(Counter(with_duckdb(one.folder.events)).values()) == 15
