"""I8: what lies below `events` and `quarantine` is what the entries name, no more and no fewer.

The rule is about readers, who list the folder and ask no entry: whatever one of the five would read and no entry names is red, and so is whatever one of
them would pass over. Left alone are only hidden files that no reader takes for anything; see `_is_ignored`.
"""

import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.contract.verdicts import Contract
from headrace.ledger.entries import DataFile, Entry
from headrace.ledger.folder import ENTRY, MICRO_BATCH, Folder, micro_batch_of
from headrace.ledger.publish import EMPTY, schemas
from headrace.verify.findings import Findings, Invariant
from headrace.verify.resources import raise_if_short

_EMPTY_FOLDER, _EMPTY_FILE = PurePath(EMPTY).parts

_SHOWN_COLUMNS = 3
"""How many columns a finding names; a damaged file can have thousands."""

_ROWS_AT_ONCE = 250
"""Rows that are read between two looks at how much memory they take: 250 MB of Kafka's largest records (1 MB each, unless set otherwise)."""


class WrongFileError(Exception):
    """A published file is not what it should be. The text says what is wrong, as a finding does; the caller adds the place."""


@dataclass(frozen=True)
class Footer:
    """What is quick to see of a Parquet file: its size in bytes, its number of rows, and whether its columns carry metadata."""

    bytes: int
    rows: int
    has_metadata: bool


def check_listing(folder: Folder, newest: int, findings: Findings) -> None:
    """Each micro-batch up to the newest has its folder, and there is nothing beside them. One listing of names: 35,000 folders take 0.1 s.

    What is in the folders is for `check_folder` and `check_empty`. A micro-batch without its folder is a finding of I5, anything else of I8.

    newest  number of the last entry that was read, -1 if there is none; a stream may have published more since
    """
    names = {f"{MICRO_BATCH}{number}" for number in range(newest + 1)}
    for kind in (folder.events, folder.quarantine):
        found = _listed(folder, kind, findings)
        if kind == folder.events:
            for name in sorted(names - found.keys(), key=_number):
                message = "the folder of this micro-batch is missing, with its entry and its records"
                findings.add(Invariant.RANGES_JOIN, message, micro_batch=_number(name), file=_relative(folder, kind / name))
        for name in sorted(found.keys() - names - {_EMPTY_FOLDER}):
            _check_beside(folder, kind, newest, found[name], findings)
        for item in [item for item in found.values() if not item.is_dir(follow_symlinks=False)]:
            if item.name in names or item.name == _EMPTY_FOLDER:
                number = _number(item.name) if item.name in names else None
                message = "a link instead of a folder; some readers follow it, some do not" if item.is_symlink() else "this is not a folder"
                findings.add(Invariant.FILES_EQUAL, message, micro_batch=number, file=_relative(folder, kind / item.name))


def _number(name: str) -> int:
    return int(name.removeprefix(MICRO_BATCH))


def _check_beside(folder: Folder, kind: Path, newest: int, item: "os.DirEntry[str]", findings: Findings) -> None:
    """What lies beside the folders of the micro-batches that were read: it may be of one that a stream has published since."""
    micro_batch = micro_batch_of(kind / item.name) if item.is_dir(follow_symlinks=False) else None
    if micro_batch is not None and (_is_being_published(folder, kind, newest, micro_batch) or not os.path.lexists(item.path)):
        return
    hint = ". (If its stream was killed, running the ingest again removes it)"
    is_left = kind == folder.quarantine and micro_batch == newest + 1
    _report_unnamed(folder, kind / item.name, item, findings, micro_batch=micro_batch, hint=hint if is_left else "")


def _is_being_published(folder: Folder, kind: Path, newest: int, micro_batch: int) -> bool:
    """Whether a folder after the newest entry that was read is of a stream that runs meanwhile.

    Those before it have their entries by now, and so has it, unless the stream still writes: the quarantine's folder comes before the entry,
    that of the events with it.
    """

    def has_entry(each: int) -> bool:
        return (folder.published(folder.events, each) / ENTRY).exists()

    if not all(map(has_entry, range(newest + 1, micro_batch))):
        return False
    may_be_without = kind == folder.quarantine and not has_entry(micro_batch) and folder.is_being_written()
    return may_be_without or has_entry(micro_batch)  # by now, perhaps: the stream may have ended just then


def check_empty(folder: Folder, contract: Contract, findings: Findings) -> None:
    """The files that show readers the columns: no rows, the contract's columns, and nothing beside them.

    One that is missing is no finding: the next ingest puts it back.
    """
    for kind, schema in zip((folder.events, folder.quarantine), schemas(contract), strict=True):
        found = _listed(folder, kind / _EMPTY_FOLDER, findings)
        _check_nothing_more(folder, kind / _EMPTY_FOLDER, found, {_EMPTY_FILE}, findings)
        if _EMPTY_FILE in found:
            try:
                footer = read_footer(kind / EMPTY, schema)
                _require_rows(footer, 0)
                _require_plain(footer)
            except WrongFileError as error:
                message = f"{error}: this file only declares the columns, and readers apply them to all files"
                findings.add(Invariant.FILES_EQUAL, message, file=_relative(folder, kind / EMPTY))


def check_folder(folder: Folder, entry: Entry, findings: Findings, *, whole: bool) -> None:
    """The folders of one entry: each file that it names is there and is what was published, and there is nothing else.

    whole  hold the content of the files against their SHA-256 as well, not only size, rows and columns
    """
    for kind, files, schema in zip(
        (folder.events, folder.quarantine), (entry.events, entry.quarantine), schemas(entry.contract), strict=True
    ):
        place = folder.published(kind, entry.number)
        for file in files:
            findings.checked[Invariant.FILES_EQUAL] += whole
            path = place / file.name
            try:
                _check_file(path, file, schema, whole=whole)
            except WrongFileError as error:
                message = f"{error}. It holds, by its entry, {_spans(file)}"
                findings.add(Invariant.FILES_EQUAL, message, micro_batch=entry.number, file=_relative(folder, path), **_where(file))
        named = {file.name for file in files} | ({ENTRY} if kind == folder.events else set())
        if not named and os.path.lexists(place):
            message = "no entry names this folder; readers would see what is in it"
            findings.add(Invariant.FILES_EQUAL, message, micro_batch=entry.number, file=_relative(folder, place))
        elif named:
            found = _listed(folder, place, findings, micro_batch=entry.number)
            _check_nothing_more(folder, place, found, named, findings, micro_batch=entry.number)
            if ENTRY in found and kind == folder.events and not found[ENTRY].is_file(follow_symlinks=False):
                message = "the entry is a link or not a regular file"
                findings.add(Invariant.FILES_EQUAL, message, micro_batch=entry.number, file=_relative(folder, place / ENTRY))


def check_unnamed(folder: Folder, micro_batch: int, findings: Findings) -> None:
    """The folders of a micro-batch whose entry is missing or can't be read: no entry names what is in them."""
    for kind in (folder.events, folder.quarantine):
        place = folder.published(kind, micro_batch)
        found = _listed(folder, place, findings, micro_batch=micro_batch)
        _check_nothing_more(folder, place, found, (), findings, micro_batch=micro_batch)


def read_footer(path: Path, schema: pa.Schema) -> Footer:
    """Look at a published file without reading its rows. Raises `WrongFileError` unless it is a regular Parquet file with just these columns.

    Names, order and types of the columns count; whether they may be null, and metadata, do not: Spark and pyarrow write them differently.
    """
    with _opened(path, schema) as (file, size):
        return Footer(bytes=size, rows=file.metadata.num_rows, has_metadata=bool(file.schema_arrow.metadata))


def read_rows(path: Path, schema: pa.Schema, most: int) -> pa.Table:
    """The rows of a published file, cast to these columns. Raises `WrongFileError` as `read_footer` does, or if they take too much memory.

    most  in bytes; rows are read a few at a time, since a small file may hold the same large value very often
    """
    blocks: list[pa.RecordBatch] = []
    with _opened(path, schema) as (file, _):
        for block in file.iter_batches(batch_size=_ROWS_AT_ONCE, use_threads=False):
            blocks.append(block)
            most -= block.nbytes
            if most < 0:
                raise WrongFileError("the file's rows take more memory than is allowed here")
        rows = pa.Table.from_batches(blocks, file.schema_arrow)
        return rows if rows.schema.equals(schema) else rows.cast(schema)


@contextmanager
def _opened(path: Path, schema: pa.Schema) -> Iterator[tuple[pq.ParquetFile, int]]:
    """A published file and its size in bytes. Raises `WrongFileError` as `read_footer` does, also for what goes wrong while it is open."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):  # before it is opened: opening a FIFO waits for a writer
            raise WrongFileError("the file is a link" if stat.S_ISLNK(status.st_mode) else "this is not a regular file")
        with pa.OSFile(os.fspath(path)) as source, pq.ParquetFile(source) as file:  # by its name it takes a third longer
            if wrong := _wrong_columns(file.schema_arrow, schema):
                raise WrongFileError(f"the file's columns are not those of its contract: {wrong}")
            yield file, status.st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WrongFileError("the file is missing") from error
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names of columns that are not UTF-8
        raise_if_short(error)
        raise WrongFileError(f"the file can't be read as Parquet ({(str(error).splitlines() or [type(error).__name__])[0]})") from error


def has_columns(path: Path, schema: pa.Schema) -> bool:
    """Whether a file can be read as records with just these columns."""
    try:
        read_footer(path, schema)
    except WrongFileError:
        return False
    return True


def _wrong_columns(found: pa.Schema, wanted: pa.Schema) -> str | None:
    """How columns differ, or `None`."""
    if found.equals(wanted):
        return None
    if found.names == wanted.names:
        differing = (f for f, w in zip(found, wanted, strict=True) if not _is_same_type(f.type, w.type))
        parts = [f"{field.name} is {field.type} instead of {wanted.field(field.name).type}" for field in islice(differing, _SHOWN_COLUMNS)]
        return "; ".join(parts) or None
    missing = [f"{name} is missing" for name in wanted.names if name not in found.names]
    more = [f"{name!r} is none of them" for name in found.names if name not in wanted.names]
    return "; ".join([*missing[:_SHOWN_COLUMNS], *more[:_SHOWN_COLUMNS]]) or "another order, or one of them twice"


def _is_same_type(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether types are equal, whatever writers call the elements of a list, and whether those may be null."""
    if pa.types.is_list(found) and pa.types.is_list(wanted):
        return _is_same_type(found.value_type, wanted.value_type)
    if pa.types.is_struct(found) and pa.types.is_struct(wanted):
        return [each.name for each in found] == [each.name for each in wanted] and all(
            _is_same_type(f.type, w.type) for f, w in zip(found, wanted, strict=True)
        )
    return bool(found == wanted)


def _check_file(path: Path, file: DataFile, schema: pa.Schema, *, whole: bool) -> None:
    """Raise `WrongFileError` unless a published file is what its entry says."""
    footer = read_footer(path, schema)
    _require_rows(footer, file.rows)
    if footer.bytes != file.bytes:
        raise WrongFileError(f"the file has {footer.bytes:,} bytes instead of {file.bytes:,}")
    if whole:
        try:
            with path.open("rb") as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            raise_if_short(error)
            raise WrongFileError(f"the file can't be read ({error.strerror})") from error
        if sha256 != file.sha256:
            raise WrongFileError("the file's content is not what was published (SHA-256)")


def _require_plain(footer: Footer) -> None:
    if footer.has_metadata:
        raise WrongFileError("the file has metadata of its own, by which pandas may take a column for an index")


def _require_rows(footer: Footer, rows: int) -> None:
    if footer.rows != rows:
        raise WrongFileError(f"the file has {footer.rows:,} rows instead of {rows:,}")


def _listed(folder: Folder, place: Path, findings: Findings, **where: Any) -> dict[str, "os.DirEntry[str]"]:
    """What lies in a folder, by name; nothing if there is no folder. One that can't be listed is a finding."""
    try:
        with os.scandir(place) as items:
            return {item.name: item for item in items}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise_if_short(error)
        findings.add(Invariant.FILES_EQUAL, f"this can't be listed ({error.strerror})", file=_relative(folder, place), **where)
        return {}


def _check_nothing_more(
    folder: Folder, place: Path, found: Mapping[str, "os.DirEntry[str]"], named: Collection[str], findings: Findings, **where: Any
) -> None:
    for name, item in found.items():
        if name not in named:
            _report_unnamed(folder, place / name, item, findings, **where)


def _report_unnamed(folder: Folder, path: Path, item: "os.DirEntry[str]", findings: Findings, *, hint: str = "", **where: Any) -> None:
    """A finding about what no entry names, unless no reader minds it. A folder is one finding, whatever is in it."""
    if _is_ignored(item):
        return
    if item.is_dir(follow_symlinks=False):
        message = "no entry names this folder; readers would see what is in it"
    else:
        message = "no entry names this file; readers would see it"
    findings.add(Invariant.FILES_EQUAL, message + hint, file=_relative(folder, path), **where)


def _is_ignored(item: "os.DirEntry[str]") -> bool:
    """Whether something is a hidden file such as a file manager or a network drive leaves (.DS_Store, .nfs0001), which no reader opens.

    DuckDB and Polars read hidden files if they end in .parquet, and one that is named .parquet; Spark holds a file against the checksums in the
    hidden .crc file beside it. Hidden folders are another matter: DuckDB and Polars go into them.
    """
    return item.name.startswith(".") and not item.name.lower().endswith((".parquet", ".crc")) and item.is_file(follow_symlinks=False)


def _spans(file: DataFile) -> str:
    return "; ".join(f"{s.rows:,} rows of {s.place}, offsets {s.lowest_offset} to {s.highest_offset}" for s in file.spans) or "no rows"


def _where(file: DataFile) -> dict[str, Any]:
    """Position of a finding about a file that holds rows of one partition only."""
    if len(file.spans) != 1:
        return {}
    span = file.spans[0]
    return {"topic": span.topic, "partition": span.partition, "from_offset": span.lowest_offset, "until_offset": span.highest_offset + 1}


def _relative(folder: Folder, path: Path) -> str:
    """A path below the pipeline's folder, as text that can be written to a report: names on disk need not be UTF-8."""
    return os.fsencode(path.relative_to(folder.root)).decode("utf-8", "backslashreplace")
