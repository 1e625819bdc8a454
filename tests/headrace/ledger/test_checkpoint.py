"""What a power cut can leave of Spark's checkpoint, and what becomes of it."""

import json
import logging
from pathlib import Path

import msgspec
import pytest

from headrace import documents
from headrace.errors import Code, LedgerError, RefusedError
from headrace.kafka.offsets import Offsets
from headrace.ledger import checkpoint
from headrace.ledger.checkpoint import checkpoint_id, logged, planned_offsets, torn
from headrace.ledger.entries import newest_link
from headrace.ledger.guard import check_checkpoint, following
from headrace.ledger.identity import Identity, read_identity
from headrace.ledger.opening import open_ledger
from headrace.ledger.recovery import recover
from ledgers import Ledger, others

SOURCE = '\0v1\n{"t":{"0":0}}'
TORN = pytest.mark.parametrize("content", [b"", b"\0" * 29], ids=["empty", "NULs"])


def made(base: Path, *cuts: int) -> Ledger:
    """A ledger with a micro-batch up to each of the cuts, and all of Spark's files, checksums included."""
    one = Ledger.made(base, others(40), cuts)
    source = one.folder.checkpoint / "sources" / "0" / "0"
    source.parent.mkdir(parents=True)
    source.write_text(SOURCE)
    for path in [*one.folder.checkpoint.rglob("*")]:
        if path.is_file():
            path.with_name(f".{path.name}.crc").write_bytes(b"crc")
    return one


def plan(one: Ledger, number: int) -> Path:
    """Spark's plan of a micro-batch that is not published."""
    path = one.folder.checkpoint / "offsets" / str(number)
    path.write_text('v1\n{"batchWatermarkMs":0}\n{"t":{"0":40}}')
    path.with_name(f".{number}.crc").write_bytes(b"crc")
    return path


def recovered(one: Ledger) -> Identity | None:
    """Recover as a stream does."""
    identity, newest = read_identity(one.folder), newest_link(one.folder)
    assert identity is not None
    return recover(one.folder, identity, newest.entry.number if newest else -1, following(identity, newest))


def accepted(one: Ledger) -> bool:
    """Whether a stream goes on after it has recovered."""
    identity = recovered(one)
    try:
        check_checkpoint(one.folder, identity, newest_link(one.folder))
    except (RefusedError, LedgerError):
        return False
    return True


def files(one: Ledger) -> dict[str, bytes]:
    """Every file of the pipeline's folder, by name, and its content."""
    return {
        str(path.relative_to(one.folder.root)): path.read_bytes()
        for path in one.folder.root.rglob("*")
        if path.is_file()
    }


@TORN
@pytest.mark.parametrize(("log", "number"), [("commits", 1), ("offsets", 2), ("sources/0", 0)])
def test_what_no_entry_relies_on_is_discarded(tmp_path: Path, log: str, number: int, content: bytes) -> None:
    """With its checksum; each of them is made again by the next stream, and nothing else changes."""
    one = made(tmp_path, 10, 20)
    plan(one, 2)
    path = one.folder.checkpoint / log / str(number)
    before = files(one)
    path.write_bytes(content)
    assert accepted(one)
    gone = {f"checkpoint/{log}/{number}", f"checkpoint/{log}/.{number}.crc"}
    assert files(one) == {name: kept for name, kept in before.items() if name not in gone}


def test_what_is_whole_is_left_alone(tmp_path: Path) -> None:
    """So is a torn commit with a whole one after it: Spark reads the newest alone."""
    one = made(tmp_path, 10, 20)
    plan(one, 2)
    (one.folder.checkpoint / "commits" / "0").write_text("")
    before = files(one)
    assert recovered(one) == read_identity(one.folder)
    assert files(one) == before


@pytest.mark.parametrize(("log", "number"), [("commits", 1), ("offsets", 2), ("sources/0", 0)])
def test_a_checksum_without_its_file_is_discarded(tmp_path: Path, log: str, number: int) -> None:
    """Spark does not replace it: it takes it for the work of another stream."""
    one = made(tmp_path, 10, 20)
    plan(one, 2)
    path = one.folder.checkpoint / log / str(number)
    before = files(one)
    path.unlink()
    assert accepted(one)
    gone = {f"checkpoint/{log}/{number}", f"checkpoint/{log}/.{number}.crc"}
    assert files(one) == {name: kept for name, kept in before.items() if name not in gone}


@pytest.mark.parametrize("absent", [False, True])
def test_all_the_newest_commits_that_are_torn_are_discarded(tmp_path: Path, absent: bool) -> None:
    """Several short micro-batches may not have reached the disk, the last of them not even by name."""
    one = made(tmp_path, 10, 20, 30)
    commits = one.folder.checkpoint / "commits"
    (commits / "1").write_bytes(b"\0\0\0")
    if absent:
        (commits / "2").unlink()
    else:
        (commits / "2").write_text("")
    assert accepted(one)
    assert logged(one.folder.checkpoint, "commits") == [0]


@TORN
def test_an_id_that_is_lost_is_written_again(tmp_path: Path, content: bytes) -> None:
    """identity.json knows it, and the plan of the newest entry shows that this is the ledger's checkpoint.

    The checksum of the lost file goes.
    """
    one = made(tmp_path, 10, 20)
    metadata = one.folder.checkpoint / "metadata"
    for lose in (lambda: metadata.write_bytes(content), metadata.unlink):
        lose()
        assert accepted(one)
        assert checkpoint_id(one.folder.checkpoint) == "c1"
        assert not metadata.with_name(".metadata.crc").exists()


@pytest.mark.parametrize(
    "instead", [None, '{"t":{"0":19}}', "\0\0\0", ""], ids=["absent", "elsewhere", "NULs", "empty"]
)
def test_an_id_is_not_written_into_a_checkpoint_that_is_not_the_ledgers(
    tmp_path: Path, instead: str | None
) -> None:
    """Without the plan of the newest entry the checkpoint is gone.

    A stream would publish records twice or not at all.
    """
    one = made(tmp_path, 10, 20)
    (one.folder.checkpoint / "metadata").unlink()
    newest = one.folder.checkpoint / "offsets" / "1"
    newest.unlink()
    if instead is not None:
        newest.write_text(instead)
    before = files(one)
    assert not accepted(one)
    assert files(one) == before


def test_a_torn_plan_of_a_published_micro_batch_is_refused(tmp_path: Path) -> None:
    """It was synced before; the message says that this was no power cut."""
    one = made(tmp_path, 10, 20)
    newest = one.folder.checkpoint / "offsets" / "1"
    newest.write_bytes(b"\0" * 40)
    before = files(one)
    with pytest.raises(LedgerError, check=Code.PLAN_TORN.fits):
        check_checkpoint(one.folder, recovered(one), newest_link(one.folder))
    assert files(one) == before


@pytest.mark.parametrize("known", ["c1", None])
@pytest.mark.parametrize("lost", ["metadata", "offsets/0", "sources/0/0"])
@pytest.mark.parametrize("content", [b"", b"\0" * 29, None], ids=["empty", "NULs", "absent"])
def test_as_long_as_nothing_is_published_a_damaged_checkpoint_is_discarded_as_a_whole(
    tmp_path: Path, known: str | None, lost: str, content: bytes | None
) -> None:
    """Spark refuses a plan without an id, and a plan without its source fails once a partition has joined."""
    one = made(tmp_path)
    identity = read_identity(one.folder)
    assert identity is not None
    documents.write(one.folder.identity, msgspec.structs.replace(identity, checkpoint=known))
    plan(one, 0)
    path = one.folder.checkpoint / lost
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert recovered(one) == read_identity(one.folder) == msgspec.structs.replace(identity, checkpoint=None)
    assert not one.folder.checkpoint.exists()
    assert list(one.folder.staging.iterdir()) == []
    assert accepted(one)


@pytest.mark.parametrize(
    "left", [None, "offsets/.0.4d1fb7f2-2a0b-4b3c-9f0e-1b6f0f5b2c11.tmp", "sources/0/.0.crc"]
)
def test_a_checkpoint_without_a_plan_is_kept_if_its_logs_are_empty(tmp_path: Path, left: str | None) -> None:
    """There was nothing to read yet.

    Spark refuses one with any file in its logs, such as a driver leaves that dies while it writes the plan,
    or with a lone checksum.
    """
    one = made(tmp_path)
    for path in (one.folder.checkpoint / "sources" / "0").iterdir():
        path.unlink()
    if left:
        (one.folder.checkpoint / left).write_text("v1")
    assert accepted(one)
    assert one.folder.checkpoint.exists() == (left is None)


def test_a_checkpoint_that_is_gone_is_no_loss_as_long_as_nothing_is_published(tmp_path: Path) -> None:
    """identity.json forgets its id."""
    one = made(tmp_path)
    one.folder.checkpoint.rename(tmp_path / "away")
    assert accepted(one)
    identity = read_identity(one.folder)
    assert identity is not None
    assert identity.checkpoint is None


@pytest.mark.parametrize("plans", [[3], [0, 1]])
def test_a_checkpoint_with_later_plans_is_kept(tmp_path: Path, plans: list[int]) -> None:
    """Micro-batch 0 was published before another was planned."""
    one = made(tmp_path)
    for number in plans:
        plan(one, number)
    (one.folder.checkpoint / "metadata").write_text("")
    before = files(one)
    assert not accepted(one)
    assert files(one) == before


@TORN
@pytest.mark.parametrize("lost", ["metadata", "commits/0", "sources/0/0"])
def test_a_checkpoint_is_kept_if_the_entries_are_gone(tmp_path: Path, lost: str, content: bytes) -> None:
    """A note of a commit says that there was one: the ledger was removed, which no power cut does."""
    one = made(tmp_path, 10)
    for path in (one.folder.events / "micro_batch=0").iterdir():
        path.unlink()
    (one.folder.checkpoint / lost).write_bytes(content)
    before = files(one)
    assert not accepted(one)
    assert files(one) == before


def test_without_an_identity_nothing_is_touched(tmp_path: Path) -> None:
    """identity.json is on disk before Spark starts.

    Without it the checkpoint is some other pipeline's, or its identity was removed.
    """
    one = made(tmp_path)
    one.folder.identity.unlink()
    (one.folder.checkpoint / "commits" / "1").write_text("")
    before = files(one)
    with pytest.raises(RefusedError, check=Code.IDENTITY_MISSING.fits):
        open_ledger(one.folder, one.pipeline, one.kafka)
    assert files(one) == before


@pytest.mark.parametrize(
    ("content", "lost"),
    [
        (b"", True),
        (b"\0", True),
        (b"\0\0", True),
        (b"v1\n{}\0\0", True),
        (SOURCE.encode(), False),
        (b"v1", False),
    ],
)
def test_what_counts_as_torn(tmp_path: Path, content: bytes, *, lost: bool) -> None:
    """Nothing, or NUL bytes where text belongs, be it in a part of the file.

    Spark's mark for old versions is none.
    """
    path = tmp_path / "0"
    path.write_bytes(content)
    assert torn(path) == lost


def test_each_discard_is_logged_with_its_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line for each."""
    one = made(tmp_path, 10, 20)
    for path in (one.folder.checkpoint / "commits" / "1", plan(one, 2)):
        path.write_text("")
    with caplog.at_level(logging.WARNING, "headrace"):
        recovered(one)
    assert [line.partition(": ")[2] for line in caplog.messages] == [
        "its content is lost; micro-batch 1 is published already.",
        "its content is lost; nothing was published by this plan, and Spark makes a new one.",
    ]


def test_all_that_a_restart_needs_is_synced_before_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id, the source, the plan, and every folder on the way to them."""
    one = made(tmp_path, 10)
    folder, synced = one.folder.checkpoint, []
    monkeypatch.setattr(documents, "sync", lambda path: synced.extend([path, path.parent]))
    monkeypatch.setattr(documents, "sync_directory", synced.append)
    checkpoint.sync(folder, 0)
    needed = {folder / name for name in ("metadata", "sources/0/0", "offsets/0")}
    above = {
        above
        for path in needed
        for above in path.parents
        if one.folder.root.parent in (above, *above.parents)
    }
    assert set(synced) == needed | above


def test_plans_are_read_as_spark_writes_them(tmp_path: Path) -> None:
    """The last line holds the positions."""
    one = made(tmp_path, 10)
    plan(one, 1)
    assert planned_offsets(one.folder.checkpoint, 1) == Offsets.nested({"t": {0: 40}})
    assert json.loads((one.folder.checkpoint / "metadata").read_text()) == {"id": "c1"}


@pytest.mark.parametrize(("most", "is_planned_again"), [(20, False), (19, True)])
def test_a_plan_that_is_larger_than_a_micro_batch_may_be_is_made_again(
    tmp_path: Path, most: int, *, is_planned_again: bool
) -> None:
    """It did not fit into memory, nothing was published by it, and the file says a smaller number now."""
    one = made(tmp_path, 10, 20)
    path = plan(one, 2)
    checksum = path.with_name(f".{path.name}.crc")
    checksum.touch()
    object.__setattr__(one.pipeline, "max_records_per_micro_batch", most)
    open_ledger(one.folder, one.pipeline, one.kafka)
    assert (path.exists(), checksum.exists()) == (not is_planned_again, not is_planned_again)
    assert logged(one.folder.checkpoint, "offsets") == ([0, 1] if is_planned_again else [0, 1, 2])
