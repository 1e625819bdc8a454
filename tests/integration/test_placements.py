"""What lies on disk is what readers see.

Whatever is put below `events` or `quarantine`, all five readers give the ledger's rows, or verify is red.

Each placement is tried on a copy of one ledger of three micro-batches, in `events` and in `quarantine`, with
the code that reports give for each reader. Beside a placement stands who no longer gives the rows of the
files that the entries name: others, more, fewer, or an error. If that is another reader than before, its new
version reads the folder in another way; verify must be red all the same, which is what counts.
"""

import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from headrace.ledger.folder import Folder
from headrace.ledger.publish import EMPTY
from headrace.report.readers import readers
from headrace.verify.result import InvariantState, State
from ledgers import Ledger, others

Seen = tuple[list[str], list[str]] | str
"""Names of the columns, and the rows as sorted text; or the name of an error."""

ALL = "duckdb polars pandas pyarrow spark"
PATTERN = "duckdb polars"
"""Those that take the pattern `**/*.parquet`: hidden files and folders as well, and a file whose whole name
is `.parquet`."""
FOLDER = "pandas pyarrow spark"
"""Those that take the folder: every file whose name does not begin with a dot or an underscore, whatever it
ends in."""
NOT_SPARK = "duckdb polars pandas pyarrow"
"""Spark passes over files beside the folders of micro-batches."""
NOT_DUCKDB = "polars pandas pyarrow spark"
"""DuckDB does not follow links to folders within its pattern, and says nothing of it."""
NONE = ""

KINDS = ("events", "quarantine")


@dataclass(frozen=True)
class Place:
    """The folder `events` or `quarantine`, in which something is placed."""

    root: Path

    @property
    def folder(self) -> Path:
        """A micro-batch's folder."""
        return self.root / "micro_batch=1"

    @property
    def file(self) -> Path:
        """Its records."""
        return self.folder / "part-1.parquet"

    @property
    def empty(self) -> Path:
        """The file that shows the columns."""
        return self.root / EMPTY

    def made(self, name: str) -> Path:
        """A path below, the folders above it made."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


Placement = Callable[[Place], Any]


def records(name: str) -> Placement:
    """The records of a micro-batch once more."""
    return lambda place: shutil.copy(place.file, place.made(name))


def text(name: str) -> Placement:
    """A file with something else."""
    return lambda place: place.made(name).write_text("something else\n")


def nothing(name: str) -> Placement:
    """A file of zero bytes."""
    return lambda place: place.made(name).touch()


def folder(name: str) -> Placement:
    """An empty folder."""
    return lambda place: (place.root / name).mkdir(parents=True)


def link(name: str, to: str) -> Placement:
    """A symbolic link; `to` is seen from its folder."""
    return lambda place: (place.root / name).symlink_to(to)


def hard_link(name: str) -> Placement:
    """Another name of the records."""
    return lambda place: (place.root / name).hardlink_to(place.file)


def special(name: str, kind: int) -> Placement:
    """A FIFO or a socket."""
    return lambda place: os.mknod(place.root / name, kind | 0o600)


def moved(of: Callable[[Place], Path]) -> Placement:
    """Something is moved elsewhere, and a link left in its place."""

    def move(place: Place) -> None:
        path = of(place)
        aside = path.rename(place.root.parent.parent / f"aside-{place.root.name}")
        path.symlink_to(aside)

    return move


def columns(change: Callable[[pa.Table], pa.Table]) -> Placement:
    """Other columns in the file that shows them."""
    return lambda place: pq.write_table(change(pq.ParquetFile(place.empty).read()), place.empty)


def undecodable(name: bytes) -> Placement:
    """The records once more under a name that is not UTF-8."""
    return lambda place: shutil.copy(place.file, os.fsencode(place.root) + b"/" + name)


RED: dict[str, tuple[str | None, Placement]] = {
    # The records once more, on each level, under each kind of name.
    **{
        f"records as {name}": (who, records(name))
        for who, names in {
            ALL: [
                *(
                    "micro_batch=1/more.parquet",
                    "micro_batch=-1/more.parquet",
                    "micro_batch=1/deeper/more.parquet",
                    "micro_batch=9/more.parquet",
                ),
                *("micro_batch=1/PART-1.parquet", "other/more.parquet", EMPTY),
                # Another key: DuckDB, Polars and Spark raise, pandas and pyarrow show a column more.
                *(
                    "other=1/more.parquet",
                    "micro_batch=1/deeper=1/more.parquet",
                    "MICRO_BATCH=1/more.parquet",
                ),
                # The same key: rows of a micro-batch that there is not. pandas raises on 01.
                *(
                    "micro_batch=01/more.parquet",
                    "micro_batch=1x/more.parquet",
                    "micro_batch=-2/more.parquet",
                ),
            ],
            PATTERN: [
                *(
                    ".parquet",
                    "micro_batch=1/.parquet",
                    "micro_batch=-1/.parquet",
                    "micro_batch=1/deeper/.parquet",
                ),
                *(".more.parquet", "micro_batch=1/.more.parquet", "micro_batch=1/_more.parquet"),
                *(".hidden/more.parquet", "micro_batch=1/.hidden/more.parquet", "_hidden/more.parquet"),
            ],
            FOLDER: [
                "micro_batch=1/more.PARQUET",
                "micro_batch=1/more",
                "micro_batch=1/more.parquet.bak",
                "micro_batch=1/more.parquet.crc",
            ],
            NOT_SPARK: ["more.parquet"],
            "pandas pyarrow": ["more.txt"],
            "duckdb polars spark": [
                "_micro_batch=1/more.parquet"
            ],  # an underscore hides nothing from Spark where the name has a key
            # No reader shows them today, since they match case: but neither are they what file managers
            # leave.
            NONE: [
                "micro_batch=1/.more.PARQUET",
                "micro_batch=1/.hidden/more.txt",
                "_metadata",
                "micro_batch=1/_common_metadata",
            ],
        }.items()
        for name in names
    },
    # What is no Parquet file. Polars and Spark pass over zero bytes.
    "nothing as .parquet": ("duckdb", nothing(".parquet")),
    "nothing as more.parquet": ("duckdb pandas pyarrow", nothing("micro_batch=1/more.parquet")),
    "nothing as _metadata": (
        "pandas spark",
        nothing("_metadata"),
    ),  # Spark reads a footer there first, pandas takes it for a data set's
    "nothing as _metadata of a micro-batch": ("spark", nothing("micro_batch=1/_metadata")),
    "nothing as _SUCCESS": (NONE, nothing("_SUCCESS")),
    "nothing as the empty file": ("duckdb pandas pyarrow spark", lambda place: place.empty.write_bytes(b"")),
    "Thumbs.db": (FOLDER, text("Thumbs.db")),
    "Thumbs.db in a micro-batch": (FOLDER, text("micro_batch=1/Thumbs.db")),
    "what macOS leaves on a network drive": (PATTERN, text("micro_batch=1/._part-1.parquet")),
    "another checksum": (
        "spark",
        text("micro_batch=1/.part-1.parquet.crc"),
    ),  # Spark's file system compares, and raises
    "a sink's log": (
        "spark",
        text("_spark_metadata/0"),
    ),  # Spark then reads what the log names, and nothing else
    "another table's log": (NONE, text("_delta_log/0.json")),
    "an entry beside the folders": (NONE, text("_entry.json")),
    "an entry beside the empty file": (NONE, text("micro_batch=-1/_entry.json")),
    "an entry deeper": (NONE, text("micro_batch=1/deeper/_entry.json")),
    "an entry's copy": (NONE, text("micro_batch=1/_entry (1).json")),
    # Folders: none is Headrace's, and what is put there later would be seen.
    **{
        f"folder {name}": (NONE, folder(name))
        for name in ("more.parquet", "micro_batch=1/more.parquet", "micro_batch=01", "micro_batch=1/.more")
    },
    # Links.
    "link to records": (ALL, link("micro_batch=1/more.parquet", "part-1.parquet")),
    "link to records as .parquet": (PATTERN, link(".parquet", "micro_batch=1/part-1.parquet")),
    "link to records, hidden": (NONE, link("micro_batch=1/.DS_Store", "part-1.parquet")),
    "dangling link": ("polars", link("micro_batch=1/more.parquet", "nowhere")),
    "link to a micro-batch": (NOT_DUCKDB, link("micro_batch=7", "micro_batch=1")),
    "link to a micro-batch within another": (NOT_DUCKDB, link("micro_batch=1/more", "../micro_batch=2")),
    "link to a micro-batch, hidden": ("polars", link(".hidden", "micro_batch=1")),
    "micro-batch behind a link": ("duckdb", moved(lambda place: place.folder)),
    "file behind a link": (NONE, moved(lambda place: place.file)),
    "empty file behind a link": (NONE, moved(lambda place: place.empty)),
    "empty file's folder behind a link": (NONE, moved(lambda place: place.empty.parent)),
    "hard link": (ALL, hard_link("micro_batch=1/more.parquet")),
    "hard link as .parquet": (PATTERN, hard_link("micro_batch=1/.parquet")),
    # What was published, under another name.
    "file's name in capitals": (PATTERN, lambda place: place.file.rename(place.folder / "part-1.PARQUET")),
    "file hidden": (ALL, lambda place: place.file.rename(place.folder / ".part-1.parquet.1")),
    "file in another micro-batch": (
        ALL,
        lambda place: place.file.rename(place.root / "micro_batch=2" / "part-1.parquet"),
    ),
    "folder's number padded": (
        "duckdb",
        lambda place: place.folder.rename(place.root / "micro_batch=01"),
    ),  # its column is text then
    # Columns: pandas, pyarrow, Spark and DuckDB take those of the first file, which is the empty one, for
    # all; Polars raises.
    "a column fewer": (ALL, columns(lambda table: table.drop_columns(table.column_names[-1:]))),
    "a column more": (ALL, columns(lambda table: table.append_column("more", pa.array([], pa.string())))),
    "another type": (ALL, columns(lambda table: table.set_column(2, "_offset", pa.array([], pa.string())))),
    "a smaller type": (
        "polars spark",
        columns(lambda table: table.set_column(2, "_offset", pa.array([], pa.int32()))),
    ),
    "another order": (ALL, columns(lambda table: table.select(table.column_names[::-1]))),
    "columns in capitals": (
        ALL,
        columns(lambda table: table.rename_columns([name.upper() for name in table.column_names])),
    ),
    "the folders' column": (
        "pandas pyarrow",
        columns(lambda table: table.append_column("micro_batch", pa.array([], pa.int64()))),
    ),
    # Names that are no text: DuckDB raises; Polars and Spark pass over the file, or raise.
    "name of other bytes": ("duckdb pandas pyarrow", undecodable(b"micro_batch=1/\xff.parquet")),
    "name of other bytes beside the folders": ("duckdb pandas pyarrow", undecodable(b"\xff.parquet")),
    # Readers may wait for ever.
    "FIFO": (None, special("micro_batch=1/more.parquet", stat.S_IFIFO)),
    "FIFO as .parquet": (None, special(".parquet", stat.S_IFIFO)),
    "FIFO, hidden": (None, special("micro_batch=1/.DS_Store", stat.S_IFIFO)),
    "socket": (None, special("micro_batch=1/more.parquet", stat.S_IFSOCK)),
}

GREEN: dict[str, Placement] = {
    **{
        f"text as {name}": text(name)
        for name in (
            ".DS_Store",
            "micro_batch=1/.DS_Store",
            "micro_batch=-1/.DS_Store",
            "micro_batch=1/.nfs0001",
        )
    },
    "an editor's copy": records("micro_batch=1/.part-1.parquet.swp"),
    "a copy under way": records("micro_batch=1/.part-1.parquet.aB3xYz"),
    "hidden name of other bytes": undecodable(b"micro_batch=1/.\xff"),
    "all of it behind a link": moved(lambda place: place.root),
    "no empty file": lambda place: place.empty.unlink(),
    "no folder for the empty file": lambda place: shutil.rmtree(place.empty.parent),
    "a hard link elsewhere": lambda place: (place.root.parent / f"{place.root.name}.parquet").hardlink_to(
        place.file
    ),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """Three micro-batches, each with kept and quarantined records; green."""
    ledger = Ledger.made(tmp_path_factory.mktemp("published"), others(30), [10, 20, 30])
    assert ledger.verify() == {}
    return ledger


@pytest.fixture(scope="module")
def expected(published: Ledger, spark: SparkSession) -> dict[str, Seen]:
    """What each reader sees where nothing was placed: the rows in the files that the entries name."""
    by_reader = see(published.folder, spark)
    files = [
        file
        for number in range(3)
        for file in (published.folder.events / f"micro_batch={number}").glob("part-*.parquet")
    ]
    rows = sum(pq.ParquetFile(file).metadata.num_rows for file in files)
    names = [*pq.read_schema(files[0]).names, "micro_batch"]
    assert [(each[0], len(each[1])) for each in by_reader.values()] == [(names, rows)] * 5
    return by_reader


def see(folder: Folder, spark: SparkSession) -> dict[str, Seen]:
    """What each reader sees of the kept records, by its name. They read the quarantine in the same way."""
    with duckdb.connect() as database:
        modules = {"duckdb": database, "polars": pl, "pandas": pd, "pyarrow": pa, "spark": spark}
        return {
            reader.name.lower(): seen(partial(eval, reader.code, modules))
            for reader in readers(str(folder.events))
        }


def seen(read: Callable[[], Any]) -> Seen:
    """Columns and rows, or the error."""
    try:
        match read():
            case pd.DataFrame() as frame:
                return list(frame.columns), as_text(frame.itertuples(index=False, name=None))
            case pl.DataFrame() as frame:
                return frame.columns, as_text(frame.rows())
            case pa.Table() as table:
                return table.column_names, as_text(row.values() for row in table.to_pylist())
            case duckdb.DuckDBPyRelation() as relation:
                return relation.columns, as_text(relation.fetchall())
            case frame:
                return frame.columns, as_text(frame.collect())
    except Exception as error:  # noqa: BLE001, whatever a reader raises
        return type(error).__name__


def as_text(rows: Any) -> list[str]:
    """Rows in an order of their own."""
    return sorted(repr(tuple(row)) for row in rows)


def placed(published: Ledger, base: Path, placement: Placement) -> Ledger:
    """A copy with something placed in it, in both folders."""
    ledger = published.copied(base)
    for kind in KINDS:
        placement(Place(ledger.folder.root / kind))
    return ledger


@pytest.mark.parametrize("name", RED)
def test_what_readers_see_otherwise_is_red(
    published: Ledger, expected: dict[str, Seen], spark: SparkSession, tmp_path: Path, name: str
) -> None:
    """I8 is broken and names what no entry names, in either folder.

    And these are the readers that show something else.
    """
    differing, placement = RED[name]
    ledger = placed(published, tmp_path, placement)
    report = ledger.look(ledger.everything)
    assert report.state == State.RED
    (files,) = (each for each in report.invariants if each.id == "I8" and each.state == InvariantState.BROKEN)
    assert {(finding.file or "").partition("/")[0] for finding in files.findings} >= set(KINDS)
    if differing is not None:
        found = see(ledger.folder, spark)
        assert [each for each in found if found[each] != expected[each]] == differing.split()


@pytest.mark.parametrize("name", GREEN)
def test_what_no_reader_sees_is_green(
    published: Ledger, expected: dict[str, Seen], spark: SparkSession, tmp_path: Path, name: str
) -> None:
    """What file managers and editors leave is no reason for a red."""
    ledger = placed(published, tmp_path, GREEN[name])
    assert ledger.verify(ledger.everything) == {}
    assert see(ledger.folder, spark) == expected
