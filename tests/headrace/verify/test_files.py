"""I8: what lies on disk is what the entries name.

What five readers make of it is in tests/integration/test_placements.py.
"""

import errno
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.errors import Exit, ResourceError
from headrace.ledger.entries import entries
from headrace.ledger.folder import ENTRY
from headrace.ledger.progress import read_verified
from headrace.ledger.publish import EMPTY, schemas
from headrace.verify.checks.files import check_empty, check_folder, check_listing, check_unnamed
from headrace.verify.findings import Findings
from headrace.verify.invariants import INVARIANTS
from headrace.verify.parquet import WrongFileError, has_columns, read_footer
from headrace.verify.result import Finding
from headrace.verify.stored import PAGE
from ledgers import Ledger, others

KINDS = ("events", "quarantine")


@pytest.fixture
def one(tmp_path: Path) -> Ledger:
    """Three micro-batches, each with kept and quarantined records."""
    return Ledger.made(tmp_path, others(30), [10, 20, 30])


def found(check: Callable[[Findings], None]) -> dict[str, list[Finding]]:
    """What a check finds, by invariant."""
    findings = Findings()
    check(findings)
    return {each.id: each.findings for each in findings.outcomes(INVARIANTS) if each.findings}


def listed(one: Ledger, newest: int = 2) -> dict[str, list[Finding]]:
    """What the listing finds."""
    return found(lambda findings: check_listing(one.folder, newest, findings))


def looked(one: Ledger, micro_batch: int = 1, *, whole: bool = False) -> list[Finding]:
    """What is found in the folders of one entry."""
    entry = entries(one.folder)[micro_batch]
    return found(lambda findings: check_folder(one.folder, entry, findings, whole=whole)).get("I8", [])


def emptied(one: Ledger) -> list[Finding]:
    """What is found at the empty files."""
    return found(lambda findings: check_empty(one.folder, one.pipeline.contract, findings)).get("I8", [])


def path_of(one: Ledger, kind: str = "events") -> Path:
    """The records of micro-batch 1."""
    return one.folder.root / kind / "micro_batch=1" / "part-1.parquet"


def test_an_untouched_folder_has_no_findings(one: Ledger) -> None:
    """Each check alone finds nothing, and counts the files that entries name."""
    assert (listed(one), emptied(one), looked(one, whole=True)) == ({}, [], [])
    report = one.look(one.everything)
    assert next(each.checked for each in report.invariants if each.id == "I8") == 6


@pytest.mark.parametrize("micro_batch", [0, 1, 2])
def test_a_folder_that_is_missing_is_seen_in_the_listing(one: Ledger, micro_batch: int) -> None:
    """Whatever was verified before, and although nothing else is read.

    Not every micro-batch has a quarantine.
    """
    shutil.rmtree(one.folder.quarantine / f"micro_batch={micro_batch}")
    assert listed(one) == {}
    shutil.rmtree(one.folder.events / f"micro_batch={micro_batch}")
    (finding,) = listed(one)["I5"]
    assert (finding.micro_batch, finding.file) == (micro_batch, f"events/micro_batch={micro_batch}")


def test_all_folders_are_missing_where_there_is_none(one: Ledger) -> None:
    """Each is named, since the next run looks at each again."""
    shutil.rmtree(one.folder.events)
    assert [finding.micro_batch for finding in listed(one)["I5"]] == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [
        "micro_batch=01",
        "micro_batch=",
        "micro_batch=-2",
        "MICRO_BATCH=1",
        "other=1",
        "other",
        ".hidden",
        "micro_batch=4",
    ],
)
def test_a_folder_beside_the_micro_batches_is_red(one: Ledger, kind: str, name: str) -> None:
    """Empty or not: one finding for all that is in it."""
    shutil.copytree(
        one.folder.root / kind / "micro_batch=1",
        one.folder.root / kind / name,
        ignore=shutil.ignore_patterns(ENTRY),
    )
    (finding,) = listed(one)["I8"]
    assert finding.file == f"{kind}/{name}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["micro_batch=1", "micro_batch=3", "micro_batch=-1", ".hidden"])
def test_a_link_among_the_micro_batches_is_red(one: Ledger, kind: str, name: str) -> None:
    """Also one that looks as if a stream had just published it; DuckDB loses its rows."""
    place = one.folder.root / kind / name
    if place.exists():
        shutil.rmtree(place)
    place.symlink_to("micro_batch=2")
    (finding,) = listed(one)["I8"]
    assert finding.file == f"{kind}/{name}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_in_a_folders_place_is_red(one: Ledger, kind: str) -> None:
    """It is there, but nothing can be in it."""
    shutil.rmtree(one.folder.root / kind / "micro_batch=1")
    (one.folder.root / kind / "micro_batch=1").touch()
    (finding,) = listed(one)["I8"]
    assert (finding.file, finding.micro_batch) == (f"{kind}/micro_batch=1", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_listed_is_red(one: Ledger, kind: str) -> None:
    """Green would say that there is nothing else."""
    place = one.folder.root / kind
    shutil.rmtree(place)
    place.touch()
    assert [finding.file for finding in listed(one)["I8"]] == [kind]


def test_what_a_stream_publishes_meanwhile_is_not_red(one: Ledger) -> None:
    """The quarantine comes before the entry.

    It is no stray folder as long as a stream holds the lock, or its entry is there by now.
    """
    shutil.rmtree(one.folder.events / "micro_batch=2")
    with one.folder.locked("a stream"):
        assert listed(one, newest=1) == {}
    (finding,) = listed(one, newest=1)["I8"]
    assert (finding.file, finding.micro_batch) == ("quarantine/micro_batch=2", 2)
    assert "running the ingest again removes it" in finding.message
    # While micro-batch 1 has its entry.
    assert listed(one, newest=0)["I8"][0].file == "quarantine/micro_batch=2"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table.drop_columns(["_key"]), "_key is missing"),
        (lambda table: table.append_column("more", pa.array([], pa.string())), "'more' is none of them"),
        (
            lambda table: table.set_column(2, "_offset", pa.array([], pa.string())),
            "_offset is string instead of int64",
        ),
        (
            lambda table: table.set_column(2, "_offset", pa.array([], pa.int32())),
            "_offset is int32 instead of int64",
        ),
        (
            lambda table: table.set_column(3, "_timestamp", pa.array([], pa.timestamp("us"))),
            "_timestamp is timestamp[us] instead of",
        ),
        (lambda table: table.select(table.column_names[::-1]), "another order"),
        (lambda table: table.append_column("_key", pa.array([], pa.binary())), "one of them twice"),
        (
            lambda table: table.rename_columns([name.upper() for name in table.column_names]),
            "_topic is missing",
        ),
    ],
)
def test_an_empty_file_with_other_columns_is_red(
    one: Ledger, kind: str, change: Callable[[pa.Table], pa.Table], told: str
) -> None:
    """Readers take its columns for those of all files."""
    path = one.folder.root / kind / EMPTY
    pq.write_table(change(pq.ParquetFile(path).read()), path)
    (finding,) = emptied(one)
    assert finding.file == f"{kind}/{EMPTY}"
    assert told in finding.message


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_file_must_be_a_file_without_rows(one: Ledger, kind: str) -> None:
    """Rows, another name, a link and zero bytes are red; none at all is not."""
    path = one.folder.root / kind / EMPTY
    shutil.copy(path_of(one, kind), path)
    assert "rows instead of 0" in emptied(one)[0].message
    aside = path.rename(path.with_name("other.parquet"))
    assert [finding.file for finding in emptied(one)] == [f"{kind}/micro_batch=-1/other.parquet"]
    aside.rename(one.folder.root / "aside")
    path.symlink_to(one.folder.root / "aside")
    assert "link" in emptied(one)[0].message
    path.unlink()
    assert emptied(one) == []
    path.touch()
    assert "can't be read" in emptied(one)[0].message


def cut_off(path: Path) -> None:
    """Lose the end of a file."""
    path.write_bytes(path.read_bytes()[:-20])


def flipped(path: Path) -> None:
    """Change one bit of the rows."""
    content = bytearray(path.read_bytes())
    content[6] ^= 1
    path.write_bytes(content)


def exchanged(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Something else in a file's place."""

    def exchange(path: Path) -> None:
        path.unlink()
        make(path)

    return exchange


def linked(path: Path) -> None:
    """Move a file away, and leave a link."""
    path.symlink_to(path.rename(path.parent.parent.parent / "aside"))


def rewritten(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Other content."""
    return lambda path: pq.write_table(change(pq.ParquetFile(path).read()), path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (Path.unlink, "missing"),
        (cut_off, "can't be read as Parquet"),
        (exchanged(Path.touch), "can't be read as Parquet"),
        (exchanged(Path.mkdir), "not a regular file"),
        (exchanged(os.mkfifo), "not a regular file"),
        (linked, "link"),
        (exchanged(lambda path: path.symlink_to("nowhere")), "link"),
        (rewritten(lambda table: pa.concat_tables([table, table])), "rows instead of"),
        (
            rewritten(
                lambda table: table.set_column(4, "_key", pa.array([b"longer than it was"] * len(table)))
            ),
            "bytes instead of",
        ),
        (
            rewritten(
                lambda table: table.set_column(2, "_offset", table.column("_offset").cast(pa.string()))
            ),
            "_offset is string",
        ),
        (
            rewritten(lambda table: table.append_column("micro_batch", pa.array([1] * len(table)))),
            "'micro_batch' is none of them",
        ),
    ],
)
def test_a_file_that_is_not_what_was_published_is_red(
    one: Ledger, kind: str, change: Callable[[Path], Any], told: str
) -> None:
    """Once, with its name and with what it held; and verify neither waits nor breaks off."""
    path = path_of(one, kind)
    change(path)
    (finding,) = looked(one)
    assert (finding.file, finding.micro_batch) == (f"{kind}/micro_batch=1/part-1.parquet", 1)
    assert told in finding.message
    assert "offsets 1" in finding.message
    assert "I8" in one.verify()


@pytest.mark.parametrize("kind", KINDS)
def test_other_bytes_of_the_same_size_are_seen_by_their_checksum(one: Ledger, kind: str) -> None:
    """Which is compared where the content is to be checked."""
    flipped(path_of(one, kind))
    assert looked(one) == []
    assert "SHA-256" in looked(one, whole=True)[0].message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [
        ".parquet",
        "more.parquet",
        ".more.PARQUET",
        "more",
        "_SUCCESS",
        "_entry.json.1",
        ".part-1.parquet.crc",
        "deeper",
        ".deeper",
    ],
)
def test_anything_else_in_a_micro_batch_is_red(one: Ledger, kind: str, name: str) -> None:
    """Whatever it holds."""
    path = path_of(one, kind).with_name(name)
    path.mkdir() if "deeper" in name else path.touch()
    assert [finding.file for finding in looked(one)] == [f"{kind}/micro_batch=1/{name}"]


def test_an_entry_lies_in_events_and_is_a_file(one: Ledger) -> None:
    """A copy in the quarantine is named by none, and a link may show another one to each who looks."""
    entry = one.folder.events / "micro_batch=1" / ENTRY
    shutil.copy(entry, one.folder.quarantine / "micro_batch=1")
    assert [finding.file for finding in looked(one)] == [f"quarantine/micro_batch=1/{ENTRY}"]
    (one.folder.quarantine / "micro_batch=1" / ENTRY).unlink()
    entry.symlink_to(entry.rename(one.folder.root / "aside"))
    assert [finding.file for finding in looked(one)] == [f"events/micro_batch=1/{ENTRY}"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("place", ["micro_batch=1", "micro_batch=2", "other"])
def test_an_entry_that_is_no_file_is_red_with_a_report(
    one: Ledger, place: str, make: Callable[[Path], Any]
) -> None:
    """Verify neither waits for it nor breaks off."""
    path = one.folder.events / place / ENTRY
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    make(path)
    assert "I8" in one.verify()


def test_a_quarantine_of_an_entry_that_names_none_is_red(tmp_path: Path) -> None:
    """Also an empty one."""
    one = Ledger.made(tmp_path, others(3), [3])
    (one.folder.quarantine / "micro_batch=0").mkdir()
    assert [finding.file for finding in looked(one, 0)] == ["quarantine/micro_batch=0"]
    assert "I8" in one.verify()


@pytest.mark.parametrize("micro_batch", [0, 1, 2])
def test_files_whose_entry_is_gone_are_named(one: Ledger, micro_batch: int) -> None:
    """No entry names them any more."""
    (one.folder.events / f"micro_batch={micro_batch}" / ENTRY).unlink()
    findings = found(lambda findings: check_unnamed(one.folder, micro_batch, findings))["I8"]
    assert {(finding.file or "").split("/")[0] for finding in findings} == set(KINDS)
    assert {finding.micro_batch for finding in findings} == {micro_batch}
    assert "I8" in one.verify()


def test_files_as_spark_writes_them_have_the_columns(one: Ledger, tmp_path: Path) -> None:
    """It calls the elements of a list otherwise, and says of other columns that they are never null."""
    _, schema = schemas(one.pipeline.contract)
    pair = pa.struct([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.binary())])
    headers = pa.field("_headers", pa.list_(pa.field("element", pair, nullable=False)))
    fields = [headers if field.name == "_headers" else field.with_nullable(False) for field in schema]
    path = tmp_path / "x.parquet"
    pq.write_table(pa.schema(fields, metadata={"org.apache.spark": "4"}).empty_table(), path)
    assert read_footer(path, schema).rows == 0
    assert has_columns(path, schema)
    other = pa.field("_headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())])))
    pq.write_table(
        pa.schema([other if field.name == "_headers" else field for field in schema]).empty_table(), path
    )
    assert not has_columns(path, schema)


def test_timestamps_of_the_old_kind_are_another_type(one: Ledger, tmp_path: Path) -> None:
    """A note of pyarrow's in the file does not hide that readers get nanoseconds without a time zone."""
    schema, _ = schemas(one.pipeline.contract)
    path = tmp_path / "x.parquet"
    pq.write_table(schema.empty_table(), path, use_deprecated_int96_timestamps=True)
    with pytest.raises(WrongFileError, match="_timestamp is timestamp"):
        read_footer(path, schema)


def test_a_damaged_footer_never_breaks_verify_off(one: Ledger, tmp_path: Path) -> None:
    """Whatever the bytes say: the file can be read, or is wrong."""
    content = path_of(one, "quarantine").read_bytes()
    length = int.from_bytes(content[-8:-4], "little") + 8
    chance = random.Random(7)
    path = tmp_path / "x.parquet"
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            damaged[-chance.randint(1, length)] = chance.randrange(256)
        path.write_bytes(damaged)
        has_columns(path, schemas(one.pipeline.contract)[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [b"\xff", b"micro_batch=1/\xff.parquet", b"\xff/_entry.json"])
def test_a_name_that_is_not_utf8_is_red_with_a_report(one: Ledger, kind: str, name: bytes) -> None:
    """It once ended verify without one: its bytes are told as text."""
    path = Path(os.fsdecode(os.fsencode(one.folder.root / kind) + b"/" + name))
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert "I8" in one.verify(one.everything)
    stored = json.loads((one.folder.report("verify-1") / "report.json").read_text())
    assert "\\xff" in json.dumps(stored, ensure_ascii=False)
    assert "\\xff" in (one.folder.report("verify-1") / PAGE).read_text()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("column", "signed"),
    [("_offset", False), ("_offset", True), ("_topic", True), ("_timestamp", True), ("_key", True)],
)
def test_a_column_written_as_another_type_is_red_with_a_report(
    one: Ledger, kind: str, column: str, signed: bool
) -> None:
    """Also in a micro-batch that was never verified and whose entry was made to fit.

    It once ended verify without a report.
    """

    def change(table: pa.Table) -> pa.Table:
        other = (
            pa.string()
            if column == "_offset"
            else pa.large_binary()
            if column == "_key"
            else pa.large_string()
        )
        return table.set_column(table.column_names.index(column), column, table.column(column).cast(other))

    one.tamper(0, change, kind, sign=signed)
    assert set(one.verify()) == {"I8"}
    assert (one.folder.report("verify-1") / PAGE).exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_more_in_a_file_that_its_entry_signs_is_red(one: Ledger, kind: str) -> None:
    """The rows are right, but DuckDB and Polars refuse the folder, and others show unpublished rows."""
    one.tamper(1, lambda table: table.append_column("more", pa.array([1] * len(table))), kind, sign=True)
    assert "'more' is none of them" in one.verify()["I8"][0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    ["../../part.parquet", "../micro_batch=2/part-2.parquet", ".part.parquet", "_part.parquet", "part.txt"],
)
def test_an_entry_that_names_what_readers_do_not_see_is_red(one: Ledger, kind: str, name: str) -> None:
    """Although the file is there, with the right rows, and nothing else is wrong."""
    path = one.folder.events / "micro_batch=1" / ENTRY
    entry = json.loads(path.read_text())
    (file,) = entry[kind]
    target = path_of(one, kind).parent / name
    if not target.exists():
        path_of(one, kind).rename(target)
    file.update(
        name=name, bytes=target.stat().st_size, sha256=hashlib.sha256(target.read_bytes()).hexdigest()
    )
    path.write_text(json.dumps(entry))
    assert "no plain name of a Parquet file" in " ".join(one.verify()["I8"])


def test_hidden_files_that_no_reader_opens_are_green(one: Ledger) -> None:
    """As file managers, network drives and editors leave them, on each level."""
    for kind in KINDS:
        for place in (
            one.folder.root / kind,
            path_of(one, kind).parent,
            (one.folder.root / kind / EMPTY).parent,
        ):
            for name in (".DS_Store", ".nfs0001", ".part-1.parquet.swp"):
                (place / name).write_bytes(b"1")
            Path(os.fsdecode(os.fsencode(place) + b"/.\xff")).touch()
    assert one.verify() == {}
    assert one.verify(one.everything) == {}


def test_the_whole_folder_may_be_behind_a_link(one: Ledger) -> None:
    """All readers follow that one."""
    for place in (one.folder.events, one.folder.quarantine):
        place.symlink_to(place.rename(one.folder.root.parent / f"{place.name}-elsewhere"))
    assert one.verify() == {}


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_file_that_pandas_wrote_is_red(one: Ledger, kind: str) -> None:
    """By its metadata pandas would take a column of all files for an index."""
    path = one.folder.root / kind / EMPTY
    table = pq.read_table(path, partitioning=None)
    pq.write_table(
        table.replace_schema_metadata({b"pandas": b'{"index_columns": ["_offset"], "columns": []}'}), path
    )
    (message,) = one.verify()["I8"]
    assert "metadata of its own" in message


def test_an_entry_with_a_damaged_byte_is_red_with_a_report(one: Ledger) -> None:
    """What is not UTF-8 is no JSON document, and no traceback either."""
    path = one.folder.events / "micro_batch=0" / "_entry.json"
    path.write_bytes(path.read_bytes().replace(b'"run"', b'"r\xf5n"', 1))
    assert "I8" in one.verify()


@pytest.mark.parametrize("content", [b"[]", b"null", b'{"id": "\xff"}'])
def test_a_damaged_checkpoint_is_red_with_a_report(one: Ledger, content: bytes) -> None:
    """Whatever is in its metadata."""
    (one.folder.checkpoint / "metadata").write_bytes(content)
    assert "I5" in one.verify()


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("headrace.verify.parquet.pq.ParquetFile", pa.ArrowMemoryError("malloc of size 8 failed")),
        ("headrace.verify.parquet.pq.ParquetFile", OSError(errno.EMFILE, "Too many open files")),
        ("headrace.verify.records.expected", MemoryError()),
        (
            "headrace.verify.records.PublishedRows._number",
            duckdb.OutOfMemoryException("Out of Memory Error: could not allocate block"),
        ),
        (
            "headrace.verify.records.PublishedRows._number",
            duckdb.IOException("IO Error: Could not write: No space left on device"),
        ),
        (
            "headrace.verify.contents.engine.view",
            duckdb.OutOfMemoryException("Out of Memory Error: failed to pin block"),
        ),
    ],
)
def test_what_runs_out_on_this_machine_is_no_finding_about_the_data(
    one: Ledger, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    """Exit 3, with its name: nothing is damaged, and nothing is remembered as if it were."""

    def short(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("headrace.verify.grouping.GROUP_BYTES", 0)
    monkeypatch.setattr(where, short)
    with pytest.raises(ResourceError, match=type(error).__name__):
        one.look()
    assert ResourceError.exit_code == Exit.UNAVAILABLE
    assert read_verified(one.folder).recheck == {}
