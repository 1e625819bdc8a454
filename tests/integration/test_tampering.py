"""Verify is attacked: whatever is done to published data, it is red, by the right invariant, and says where.

Each attack works on a copy of one ledger of three micro-batches. Where it says "signed", the entry was
changed to fit the file, as a careful attacker or a broken writer would: names, counts and checksums alone
must not be what verify relies on.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from headrace.ledger.folder import ENTRY, Folder
from headrace.ledger.publish import EMPTY, data_files
from headrace.verify.result import Finding, InvariantState
from slices import TEXT, Slice, broken


@pytest.fixture(scope="module")
def published(broker: str, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Slice:
    """Three micro-batches, verified green."""
    assert spark
    one = Slice.make(
        tmp_path_factory.mktemp("published"), broker, "tampered", TEXT, topic_prefix="tampering-"
    )
    for number in range(3):
        one.ingest(f"run-{number}", records=120, malformed=0.2, seed=number)
    assert broken(one.verify(all_of_it=True)) == {}
    return one


@pytest.fixture
def copy(published: Slice, tmp_path: Path) -> Slice:
    """A copy to tamper with."""
    root = tmp_path / published.folder.root.name
    shutil.copytree(published.folder.root, root)
    return Slice(published.pipeline, Folder(root), published.servers)


@dataclass(frozen=True)
class File:
    """One published file of micro-batch 1."""

    place: Path
    kind: str

    @classmethod
    def of(cls, one: Slice, kind: str = "events", micro_batch: int = 1) -> "File":
        """The only file of a micro-batch."""
        return cls(one.folder.root / kind / f"micro_batch={micro_batch}", kind)

    @property
    def path(self) -> Path:
        """Its path."""
        (found,) = self.place.glob("*.parquet")
        return found

    @property
    def table(self) -> pa.Table:
        """Its rows."""
        return pq.ParquetFile(self.path).read()

    def replace(self, table: pa.Table, one: Slice, *, signed: bool) -> None:
        """Write other rows; signed: make the entry fit."""
        pq.write_table(table, self.path)
        if signed:
            entry = one.folder.root / "events" / self.place.name / ENTRY
            document = json.loads(entry.read_text())
            beside = entry.rename(entry.with_suffix(".aside"))
            (described,) = data_files_of(self.place)
            beside.unlink()
            document[self.kind] = [described]
            entry.write_text(json.dumps(document))


def data_files_of(place: Path) -> list[dict[str, Any]]:
    """What an entry would say of the Parquet files in a folder."""
    only = place.parent / "only"
    only.mkdir()
    for path in place.glob("*.parquet"):
        shutil.copy(path, only)
    described = msgspec.to_builtins(data_files(only))
    shutil.rmtree(only)
    assert isinstance(described, list)
    return described


def offset_of(table: pa.Table, row: int) -> tuple[int, int]:
    """Partition and offset of a row."""
    return table.column("_partition")[row].as_py(), table.column("_offset")[row].as_py()


def found(one: Slice, invariant: str) -> list[Finding]:
    """Verify everything; the findings of one invariant, which must not hold."""
    report = one.verify("attacked", all_of_it=True)
    assert report.state == "red"
    (outcome,) = (each for each in report.invariants if each.id == invariant)
    assert outcome.state == InvariantState.BROKEN, broken(report)
    return outcome.findings


def names(findings: list[Finding], partition: int, offset: int) -> bool:
    """Whether a finding names a position."""
    return any(
        finding.partition == partition
        and finding.from_offset is not None
        and finding.from_offset <= offset < (finding.until_offset or 0)
        for finding in findings
    )


def changed(table: pa.Table, row: int, column: str, value: Any) -> pa.Table:
    """The table with one value changed."""
    values = table.column(column).to_pylist()
    values[row] = value
    return table.set_column(
        table.column_names.index(column),
        table.schema.field(column),
        pa.array(values, table.schema.field(column).type),
    )


@pytest.mark.parametrize("signed", [False, True])
def test_a_row_removed_is_red(copy: Slice, signed: bool) -> None:
    """A kept record that is not there any more is named by offset."""
    file = File.of(copy)
    table = file.table
    file.replace(table.slice(1), copy, signed=signed)
    findings = found(copy, "I7")
    assert names(findings, *offset_of(table, 0))


@pytest.mark.parametrize("signed", [False, True])
def test_a_row_added_is_red(copy: Slice, signed: bool) -> None:
    """A row that the broker has no record for is named by offset."""
    file = File.of(copy)
    table = file.table
    highest = pc.max(table.column("_offset")).as_py() + 1_000
    file.replace(
        pa.concat_tables([table, changed(table.slice(0, 1), 0, "_offset", highest)]), copy, signed=signed
    )
    assert any(str(highest) in finding.message for finding in found(copy, "I4"))


@pytest.mark.parametrize("signed", [False, True])
def test_a_row_doubled_is_red(copy: Slice, signed: bool) -> None:
    """A record that is there twice breaks uniqueness."""
    file = File.of(copy)
    table = file.table
    file.replace(pa.concat_tables([table, table.slice(0, 1)]), copy, signed=signed)
    assert names(found(copy, "I2"), *offset_of(table, 0))


@pytest.mark.parametrize("column", ["value", "_key", "_timestamp"])
@pytest.mark.parametrize("signed", [False, True])
def test_a_row_altered_is_red(copy: Slice, column: str, signed: bool) -> None:
    """A changed value, key or timestamp is not what the broker holds."""
    file = File.of(copy)
    table = file.table
    other = {"value": '"This is an important lie"', "_key": b"other", "_timestamp": 0}[column]
    file.replace(changed(table, 0, column, other), copy, signed=signed)
    assert names(found(copy, "I4"), *offset_of(table, 0))


def test_two_values_swapped_are_red(copy: Slice) -> None:
    """Counts, sums and files' sizes stay the same; both rows are named."""
    file = File.of(copy)
    table = file.table
    values = table.column("value").to_pylist()
    other = next(row for row, value in enumerate(values) if value != values[0])
    file.replace(
        changed(changed(table, 0, "value", values[other]), other, "value", values[0]), copy, signed=True
    )
    findings = found(copy, "I4")
    assert names(findings, *offset_of(table, 0))
    assert names(findings, *offset_of(table, other))


def test_a_row_in_another_micro_batch_is_red(copy: Slice) -> None:
    """A row moved from one micro-batch's file to another's lies outside of the ranges there."""
    here, there = File.of(copy), File.of(copy, micro_batch=2)
    table = here.table
    here.replace(table.slice(1), copy, signed=True)
    there.replace(pa.concat_tables([there.table, table.slice(0, 1)]), copy, signed=True)
    partition, offset = offset_of(table, 0)
    assert names(found(copy, "I4"), partition, offset)


def test_a_file_truncated_is_red(copy: Slice) -> None:
    """A file that can't be read is named, with the offsets that its entry says it holds."""
    path = File.of(copy).path
    path.write_bytes(path.read_bytes()[:-20])
    assert any(
        finding.file and path.name in finding.file and "offsets" in finding.message
        for finding in found(copy, "I8")
    )


@pytest.mark.parametrize("kind", ["events", "quarantine"])
def test_a_file_removed_is_red_and_put_back_is_green(copy: Slice, kind: str) -> None:
    """The missing file's offsets are named; with the file back everything holds again."""
    path = File.of(copy, kind).path
    content = path.read_bytes()
    path.unlink()
    assert any(
        finding.file and path.name in finding.file and "offsets" in finding.message
        for finding in found(copy, "I8")
    )
    assert set(broken(copy.verify("alone", all_of_it=True))) == {"I8"}, "one cause is told once"
    path.write_bytes(content)
    assert broken(copy.verify("again", all_of_it=True)) == {}


def test_a_file_moved_to_another_folder_is_red(copy: Slice) -> None:
    """It is missing here and unknown there."""
    path = File.of(copy).path
    path.rename(copy.folder.events / "micro_batch=2" / path.name)
    messages = " ".join(finding.message for finding in found(copy, "I8"))
    assert "missing" in messages
    assert "no entry names" in messages


def test_a_foreign_file_is_red(copy: Slice) -> None:
    """A file that readers would see and no entry names."""
    shutil.copy(File.of(copy).path, copy.folder.events / "micro_batch=1" / "part-more.parquet")
    assert any("part-more" in (finding.file or "") for finding in found(copy, "I8"))


@pytest.mark.parametrize(
    "place", ["events/copy", "events/micro_batch=-1", "quarantine/copy", "events/micro_batch=1/deeper"]
)
def test_a_copy_in_another_place_is_red(copy: Slice, place: str) -> None:
    """A published file once more where globbing readers find it, under its own name."""
    path = File.of(copy, place.split("/", maxsplit=1)[0], micro_batch=0).path
    (copy.folder.root / place).mkdir(exist_ok=True)
    shutil.copy(path, copy.folder.root / place)
    assert any((finding.file or "").startswith(place) for finding in found(copy, "I8"))


def test_rows_in_the_empty_file_are_red(copy: Slice) -> None:
    """The file that shows the columns before the first micro-batch must stay empty."""
    shutil.copy(File.of(copy).path, copy.folder.events / EMPTY)
    assert any(EMPTY in (finding.file or "") for finding in found(copy, "I8"))


@pytest.mark.parametrize("micro_batch", [0, 1, 2])
def test_an_entry_removed_is_red(copy: Slice, micro_batch: int) -> None:
    """First, middle or last: no entry names the files."""
    (copy.folder.events / f"micro_batch={micro_batch}" / ENTRY).unlink()
    assert any(f"micro_batch={micro_batch}" in (finding.file or "") for finding in found(copy, "I8"))


@pytest.mark.parametrize("micro_batch", [0, 1, 2])
def test_a_micro_batch_removed_is_red(copy: Slice, micro_batch: int) -> None:
    """With entry, files and quarantine gone, the chain and the receipts still tell."""
    shutil.rmtree(copy.folder.events / f"micro_batch={micro_batch}")
    shutil.rmtree(copy.folder.quarantine / f"micro_batch={micro_batch}")
    assert found(copy, "I5")


@pytest.mark.parametrize("column", ["kept", "filtered", "quarantined", "gaps"])
def test_a_count_changed_is_red(copy: Slice, column: str) -> None:
    """An entry that claims another number does not balance."""
    entry = copy.folder.events / "micro_batch=1" / ENTRY
    document = json.loads(entry.read_text())
    document["accounts"][0][column] += 1
    entry.write_text(json.dumps(document))
    assert names(
        found(copy, "I6"), document["accounts"][0]["partition"], document["accounts"][0]["from_offset"]
    )


def test_a_count_hidden_in_another_is_red(copy: Slice) -> None:
    """An entry that balances with wrong numbers is held against what the records say."""
    entry = copy.folder.events / "micro_batch=1" / ENTRY
    document = json.loads(entry.read_text())
    document["accounts"][0]["filtered"] -= 1
    document["accounts"][0]["gaps"] += 1
    entry.write_text(json.dumps(document))
    assert names(
        found(copy, "I6"), document["accounts"][0]["partition"], document["accounts"][0]["from_offset"]
    )


def test_a_quarantined_record_dropped_is_red(copy: Slice) -> None:
    """An unusable record must be in the quarantine."""
    file = File.of(copy, "quarantine")
    table = file.table
    file.replace(table.slice(1), copy, signed=True)
    assert names(found(copy, "I7"), *offset_of(table, 0))


def test_a_quarantine_reason_changed_is_red(copy: Slice) -> None:
    """The second engine finds another reason."""
    file = File.of(copy, "quarantine")
    table = file.table
    other = "not_utf8" if table.column("reason")[0].as_py() == "null_value" else "null_value"
    file.replace(changed(table, 0, "reason", other), copy, signed=True)
    assert names(found(copy, "I7"), *offset_of(table, 0))


@pytest.mark.parametrize("change", ["records", "digest", "highest_offset", "lowest_offset", "count"])
def test_a_receipt_altered_is_red(copy: Slice, change: str) -> None:
    """Whatever a receipt claims is held against the records."""
    path = copy.folder.receipt("run-1")
    document = json.loads(path.read_text())
    if change == "records":
        document["records"] += 1
    elif change == "digest":
        document["digest"] = f"{(int(document['digest'], 16) + 1) % (1 << 128):032x}"
    else:
        document["landings"][0][change] += -1 if change == "highest_offset" else 1
    path.write_text(json.dumps(document))
    assert any(finding.receipt == "run-1" for finding in found(copy, "I1"))


def test_another_filter_in_an_entry_is_red(copy: Slice) -> None:
    """An entry that claims another contract is held against the records judged by it."""
    entry = copy.folder.events / "micro_batch=1" / ENTRY
    document = json.loads(entry.read_text())
    document["contract"]["filter"] = "not contains(value, 'important')"
    entry.write_text(json.dumps(document))
    assert found(copy, "I7")


def test_red_is_told_until_it_is_mended(copy: Slice) -> None:
    """What a red report named is looked at again by the next run, although it was verified before."""
    path = File.of(copy, micro_batch=0).path
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\0")
    assert found(copy, "I8")
    assert copy.verify("next").state == "red"
    path.write_bytes(content)
    assert broken(copy.verify("mended")) == {}
