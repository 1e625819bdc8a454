"""What becomes of a receipt once it is verified.

Journaled, moved out of the way, found when it is needed, taken back.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace import documents
from headrace.errors import OpenTransactionError
from headrace.kafka.offsets import Offsets
from headrace.ledger import verified_receipts
from headrace.ledger.entries import newest_link
from headrace.ledger.folder import Folder
from headrace.ledger.identity import read_identity
from headrace.ledger.opening import check_receipts, open_ledger
from headrace.ledger.progress import completed_receipts, read_verified, roll_back
from headrace.ledger.receipts import (
    Receipt,
    key_prefix,
    receipt_by_prefix,
    receipt_of,
    receipt_sha256,
    receipts,
)
from headrace.report.conclusion import conclude
from headrace.verify.scope import everything, of_run, since_verified
from ledgers import Ledger, batch, others


def make(base: Path) -> Ledger:
    """Batch `a` in two micro-batches, and its receipt; foreign records that wait."""
    one = Ledger.made(base, [*batch("a", 20), *others(20)], [10, 20])
    one.receipt("a", 0, 19)
    return one


def stopped_at(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> None:
    """Let the next call of a function end the process, as a kill would."""

    def killed(*_: Any, **__: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(where, name, killed)


def files(folder: Folder) -> tuple[int, int]:
    """How many receipts are not verified, and how many are."""
    return len(list(receipts(folder))), len(list(receipts(folder, verified=True)))


def altered(one: Ledger, **change: Any) -> bytes:
    """Change the receipt of `a` where it is; returns what it was."""
    path = one.folder.receipt("a")
    before = path.read_bytes()
    documents.write(path, msgspec.structs.replace(documents.read(path, Receipt), **change))
    return before


def test_a_verified_receipt_leaves_the_way(tmp_path: Path) -> None:
    """It is found by its run and by its records' keys, and neither a stream nor a run's verify reads it."""
    one = make(tmp_path)
    sha256 = receipt_sha256(one.folder, "a")
    assert files(one.folder) == (1, 0)
    assert one.verify() == {}
    assert files(one.folder) == (0, 1)
    assert verified_receipts.journaled(one.folder) == {"a": sha256}
    receipt = receipt_of(one.folder, "a")
    assert receipt is not None
    assert receipt_by_prefix(one.folder, key_prefix("p", "a")) == receipt
    assert completed_receipts(one.folder) == []
    one.folder.receipt("a").write_text("no receipt")
    documents.write(one.folder.streamed, one.streamed)
    assert one.streamed.receipts == []
    open_ledger(one.folder, one.pipeline, one.kafka)
    one.publish(2, 20, 30)
    assert one.verify() == {}


@pytest.mark.parametrize(
    ("where", "name", "left"),
    [
        (documents, "sync", (1, 0)),
        (Path, "replace", (1, 0)),
        (documents, "write", (0, 1)),
    ],
    ids=["appended", "journaled", "moved"],
)
@pytest.mark.parametrize("ages_out", [False, True])
def test_a_crash_between_the_steps_is_harmless(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    left: tuple[int, int],
    *,
    ages_out: bool,
) -> None:
    """Appended, journaled, moved: the receipt is proven, its micro-batches are not.

    The next run is green about both.
    """
    one = make(tmp_path)
    scope = since_verified(one.folder)
    report = one.look(scope)
    stopped_at(monkeypatch, where, name)
    with pytest.raises(KeyboardInterrupt):
        conclude(one.folder, one.pipeline, scope, report)
    assert files(one.folder) == left
    assert read_verified(one.folder).until == -1
    if ages_out:
        one.kafka.first = 20
        found = one.verify()
        assert set(found) == {"I7"}, "its micro-batches were not proven; it was"
        return
    documents.write(one.folder.streamed, one.streamed)
    check_receipts(one.folder, one.kafka, completed_receipts(one.folder))
    assert one.verify() == {}
    assert files(one.folder) == (0, 1)
    assert list(verified_receipts.journaled(one.folder)) == ["a"]
    assert read_verified(one.folder).until == 1
    assert one.verify(one.everything) == {}


def test_a_journaled_receipt_that_was_not_moved_is_still_verified(tmp_path: Path) -> None:
    """The journal proves only what has the content that it names."""
    one = make(tmp_path)
    one.folder.journal.write_text(f'{{"run":"a","sha256":"{"0" * 64}"}}\n')
    altered(one, records=21)
    assert "I1" in one.verify()
    assert files(one.folder) == (1, 0)


def test_a_torn_line_is_none(tmp_path: Path) -> None:
    """A power cut left half of it: the receipt is verified again, and the next line is whole."""
    one = make(tmp_path)
    one.folder.journal.write_text('{"run":"x","sha256":"' + "1" * 64 + '"}\n{"run":"a","sha2')
    assert since_verified(one.folder).receipts == ["a"]
    assert one.verify() == {}
    assert list(verified_receipts.journaled(one.folder)) == ["x", "a"]
    assert one.folder.journal.read_bytes().endswith(b"\n")


def test_a_red_moves_what_was_proven_and_nothing_else(tmp_path: Path) -> None:
    """Batch `a` is as its receipt says, batch `b` is not."""
    one = Ledger.made(tmp_path, [*batch("a", 10), *batch("b", 10)], [20])
    one.receipt("a", 0, 9)
    path = one.folder.receipt("b")
    one.receipt("b", 10, 19)
    documents.write(path, msgspec.structs.replace(documents.read(path, Receipt), records=11))
    assert set(one.verify()) == {"I1"}
    assert list(verified_receipts.journaled(one.folder)) == ["a"]
    assert [receipt.run for receipt in receipts(one.folder)] == ["b"]
    assert since_verified(one.folder).receipts == ["b"]


def test_a_record_beyond_an_old_verified_receipt_is_noticed(tmp_path: Path) -> None:
    """Its key names the batch.

    The receipt is read once such a record turns up, and from then on until this is green.
    """
    one = Ledger.made(tmp_path, [*batch("a", 10), *batch("a", 11)[10:], *batch("c", 9)], [10])
    one.receipt("a", 0, 9)
    assert one.verify() == {}
    documents.write(one.folder.streamed, one.streamed)
    one.publish(1, 10, 20)
    assert since_verified(one.folder).receipts == []
    (finding,) = one.verify()["I3"]
    assert "of run a beyond what its receipt claims" in finding
    assert since_verified(one.folder).receipts == ["a"]


def test_keys_that_look_like_those_of_batches_are_looked_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each prefix costs one look at the disk; what could not be a file's name costs none."""
    looked: list[bytes] = []

    def look(folder: Folder, prefix: bytes) -> Receipt | None:
        looked.append(prefix)
        return receipt_by_prefix(folder, prefix)

    monkeypatch.setattr("headrace.verify.batches.receipt_by_prefix", look)
    foreign = [(b"../../../../%d%010d" % (number % 2, number), b"important") for number in range(10)]
    one = Ledger.made(tmp_path, [*batch("x", 10), *foreign], [20])
    assert one.verify() == {}
    assert sorted(looked) == sorted([key_prefix("p", "x"), b"../../../../0", b"../../../../1"])
    assert receipt_by_prefix(one.folder, b"../../../../0") is None


@pytest.mark.parametrize("aged_out", [False, True])
def test_a_verified_receipt_that_was_altered_is_red_until_it_is_put_back(
    tmp_path: Path, *, aged_out: bool
) -> None:
    """Also where it still agrees with the records: the journal has its hash.

    A run's verify does not read it before it was named.
    """
    one = make(tmp_path)
    assert one.verify() == {}
    before = altered(one, seed=2)
    one.kafka.first = 20 if aged_out else 0
    assert one.verify() == {}
    for scope in (one.everything, None):
        assert any("changed since it was verified" in message for message in one.verify(scope)["I1"])
    one.folder.receipt("a").write_bytes(before)
    assert one.verify() == {}
    assert one.verify(one.everything) == {}
    assert since_verified(one.folder).receipts == []


def test_without_its_journal_a_verified_receipt_is_verified_again(tmp_path: Path) -> None:
    """What the journal lacks is not proven: everything reads it back, and journals it."""
    one = make(tmp_path)
    assert one.verify() == {}
    line = one.folder.journal.read_bytes()
    one.folder.journal.unlink()
    one.kafka.first = 20
    assert "I1" in one.verify(one.everything)
    one.kafka.first = 0
    assert one.verify(one.everything) == {}
    assert one.folder.journal.read_bytes() == line


def test_a_verified_run_can_be_verified_by_its_name(tmp_path: Path) -> None:
    """`headrace verify NAME RUN`, long after its stream."""
    one = make(tmp_path)
    assert one.verify() == {}
    documents.write(one.folder.streamed, one.streamed)
    scope = of_run(one.folder, "a")
    assert (scope.micro_batches, scope.receipts) == ([0, 1], ["a"])
    assert one.verify(scope) == {}
    altered(one, records=21)
    assert "I1" in one.verify(scope)


def rolled_back(tmp_path: Path) -> Ledger:
    """Batches `a` and `b`, both verified.

    Then ledger and checkpoint as they were before `b` was published.
    """
    one = Ledger.made(tmp_path, [*batch("a", 10), *batch("b", 10)], [10])
    one.receipt("a", 0, 9)
    before = one.copied(tmp_path / "before")
    one.publish(1, 10, 20)
    one.receipt("b", 10, 19)
    assert one.verify() == {}
    documents.write(one.folder.streamed, one.streamed)
    assert files(one.folder) == (0, 2)
    one.rolled_back(before)
    return one


def test_receipts_whose_records_are_no_longer_published_are_taken_back(tmp_path: Path) -> None:
    """The next stream must publish them again, and verify prove them.

    What is still published stays verified.
    """
    one = rolled_back(tmp_path)
    roll_back(one.folder, newest_link(one.folder))
    assert [receipt.run for receipt in completed_receipts(one.folder)] == ["b"]
    assert list(verified_receipts.journaled(one.folder)) == ["a"]
    assert one.verify(one.everything) == {}, "b waits"
    with pytest.raises(OpenTransactionError, match="only those before 10 are published"):
        check_receipts(one.folder, one.kafka, completed_receipts(one.folder))
    one.publish(1, 10, 20)
    documents.write(one.folder.streamed, one.streamed)
    assert one.verify() == {}
    assert files(one.folder) == (0, 2)


@pytest.mark.parametrize(
    ("where", "name"), [(documents, "sync_directory"), (documents, "replace"), (documents, "write")]
)
def test_a_crash_while_receipts_are_taken_back_is_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str
) -> None:
    """The next stream does it again."""
    one = rolled_back(tmp_path)
    stopped_at(monkeypatch, where, name)
    with pytest.raises(KeyboardInterrupt):
        roll_back(one.folder, newest_link(one.folder))
    assert "I5" in one.verify()
    roll_back(one.folder, newest_link(one.folder))
    assert [receipt.run for receipt in completed_receipts(one.folder)] == ["b"]
    assert list(verified_receipts.journaled(one.folder)) == ["a"]


def removed(one: Ledger) -> None:
    """Start over by hand and leave the receipts."""
    for path in (one.folder.identity, one.folder.verified):
        path.unlink()
    for kind in (one.folder.events, one.folder.checkpoint):
        kind.rename(one.folder.root.parent / kind.name)


def exchanged(one: Ledger) -> None:
    """Another ledger, with another checkpoint."""
    identity = read_identity(one.folder)
    assert identity is not None
    documents.write(one.folder.identity, msgspec.structs.replace(identity, checkpoint="c2"))


@pytest.mark.parametrize("change", [removed, exchanged])
def test_no_receipt_is_verified_on_another_ledger(tmp_path: Path, change: Callable[[Ledger], None]) -> None:
    """The first stream of it takes all of them back."""
    one = make(tmp_path)
    assert one.verify() == {}
    change(one)
    roll_back(one.folder, newest_link(one.folder))
    assert files(one.folder) == (1, 0)
    assert verified_receipts.journaled(one.folder) == {}


def test_a_green_of_another_ledger_takes_receipts_back(tmp_path: Path) -> None:
    """Also if it comes before that ledger's first stream; only what it proved itself is verified then."""
    one = Ledger.made(tmp_path, [*batch("a", 10), *batch("b", 10)], [20])
    one.receipt("a", 0, 9)
    one.receipt("b", 10, 19)
    assert one.verify() == {}
    known = read_verified(one.folder)
    documents.write(one.folder.verified, msgspec.structs.replace(known, checkpoint="c0"))
    documents.write(one.folder.streamed, one.streamed)
    assert one.verify() == {}
    assert files(one.folder) == (2, 0)
    assert verified_receipts.journaled(one.folder) == {}
    documents.write(one.folder.streamed, one.streamed)
    assert one.verify() == {}
    assert files(one.folder) == (0, 2)


def test_a_receipt_that_moves_while_it_is_looked_for_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's verify, a producer or a stream may look while another verify run ends."""
    one = make(tmp_path)
    content = documents.content
    sha256 = receipt_sha256(one.folder, "a")

    def moved(path: Path) -> bytes:
        monkeypatch.undo()
        verified_receipts.add(one.folder, {"a": sha256 or ""})
        return content(path)

    monkeypatch.setattr(documents, "content", moved)
    assert receipt_sha256(one.folder, "a") == sha256
    verified_receipts.take_back(one.folder, Offsets())
    monkeypatch.setattr(documents, "content", moved)
    assert list(receipts(one.folder)) == []
    assert everything(one.folder).receipts == ["a"]


def test_verified_receipts_survive_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is synced before the rename, both folders after it."""
    one = make(tmp_path)
    steps: list[str] = []
    replace, sync_directory = Path.replace, documents.sync_directory

    def renamed(path: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(path, target)

    def synced(path: Path) -> None:
        steps.append(path.name)
        sync_directory(path)

    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(documents, "sync", lambda path: steps.append(path.name))
    monkeypatch.setattr(documents, "sync_directory", synced)
    verified_receipts.add(one.folder, {"a": receipt_sha256(one.folder, "a") or ""})
    assert steps == ["receipts", "verified.jsonl", "rename", "receipts", "verified"]
