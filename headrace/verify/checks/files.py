"""I8: what lies below `events` and `quarantine` is what the entries name, no more and no fewer.

The rule is about readers, who list the folder and ask no entry: whatever one of the five would read and no
entry names is red, and so is whatever one of them would pass over. Left alone are only hidden files that no
reader takes for anything; see `_is_ignored`. The whole rule is in this file.
"""

import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa

from headrace.contract.verdicts import Contract
from headrace.ledger.entries import entry_path
from headrace.ledger.entry import DataFile, Entry
from headrace.ledger.folder import ENTRY, MICRO_BATCH, Folder, micro_batch_of
from headrace.ledger.publish import EMPTY, schemas
from headrace.verify.checks.ranges import RANGES
from headrace.verify.findings import Advice, Findings, Invariant
from headrace.verify.parquet import Footer, WrongFileError, read_footer
from headrace.verify.resources import raise_if_short
from headrace.verify.snapshot import Snapshot

_EMPTY_FOLDER, _EMPTY_FILE = PurePath(EMPTY).parts

FILES = Invariant(
    id="I8",
    word="files",
    title="the files are those of the entries, no more and no fewer; those checked now are unchanged to the byte",
    unit="files",
    advice=Advice(
        means="The folder holds something else than what was published: a file is missing, altered, or does not belong there.",
        do="Put back the named file from a copy, or move out what is not Headrace's. "
        "Without a copy, `headrace reset {pipeline}` moves the data aside, and the next run publishes again what Kafka still holds. Records that have left Kafka by then are lost.",
    ),
    is_restorable=True,
)


def check_readable(snapshot: Snapshot, findings: Findings) -> None:
    """Every entry that the run needs can be read."""
    folder = snapshot.folder
    for number, why in snapshot.unreadable.items():
        place = folder.published(folder.events, number) / ENTRY
        findings.add(FILES, why, micro_batch=number, file=_relative(folder, place))


def check_names(snapshot: Snapshot, findings: Findings) -> None:
    """The folders are those of the micro-batches; see `check_listing`."""
    check_listing(snapshot.folder, snapshot.newest, findings)


def check_files(snapshot: Snapshot, findings: Findings) -> None:
    """Check the files of all micro-batches that the run looks at: in full those in its scope."""
    folder = snapshot.folder
    if snapshot.identity is not None:
        check_empty(folder, snapshot.identity.contract, findings)
    for entry in snapshot.chosen:
        check_folder(folder, entry, findings, whole=True)
    for number in snapshot.again:
        if number in snapshot.links:
            check_folder(folder, snapshot.links[number].entry, findings, whole=False)
    for number in snapshot.looked_at - snapshot.links.keys():
        if not entry_path(folder, number).exists():
            check_unnamed(folder, number, findings)


def check_listing(folder: Folder, newest: int, findings: Findings) -> None:
    """Each micro-batch up to the newest has its folder, and there is nothing beside them.

    One listing of names: 35,000 folders take 0.1 s.

    What is in the folders is for `check_folder` and `check_empty`. A micro-batch without its folder is a
    finding of I5, anything else of I8.

    Args:
        newest: Number of the last entry that was read, -1 if there is none; a stream may have published more
            since.
    """
    names = {f"{MICRO_BATCH}{number}" for number in range(newest + 1)}
    for kind in (folder.events, folder.quarantine):
        found = _listed(folder, kind, findings)
        if kind == folder.events:
            for name in sorted(names - found.keys(), key=_number):
                message = "the folder of this micro-batch is missing, with its entry and its records"
                findings.add(RANGES, message, micro_batch=_number(name), file=_relative(folder, kind / name))
        for name in sorted(found.keys() - names - {_EMPTY_FOLDER}):
            _check_beside(folder, kind, newest, found[name], findings)
        for item in [item for item in found.values() if not item.is_dir(follow_symlinks=False)]:
            if item.name in names or item.name == _EMPTY_FOLDER:
                number = _number(item.name) if item.name in names else None
                message = (
                    "a link instead of a folder; some readers follow it, some do not"
                    if item.is_symlink()
                    else "this is not a folder"
                )
                findings.add(FILES, message, micro_batch=number, file=_relative(folder, kind / item.name))


def _number(name: str) -> int:
    return int(name.removeprefix(MICRO_BATCH))


def _check_beside(
    folder: Folder, kind: Path, newest: int, item: "os.DirEntry[str]", findings: Findings
) -> None:
    """What lies beside the folders of the micro-batches that were read.

    It may be of one that a stream has published since.
    """
    micro_batch = micro_batch_of(kind / item.name) if item.is_dir(follow_symlinks=False) else None
    if micro_batch is not None and (
        _is_being_published(folder, kind, newest, micro_batch) or not os.path.lexists(item.path)
    ):
        return
    hint = ". (If its stream was killed, running the ingest again removes it)"
    is_left = kind == folder.quarantine and micro_batch == newest + 1
    _report_unnamed(
        folder, kind / item.name, item, findings, micro_batch=micro_batch, hint=hint if is_left else ""
    )


def _is_being_published(folder: Folder, kind: Path, newest: int, micro_batch: int) -> bool:
    """Whether a folder after the newest entry that was read is of a stream that runs meanwhile.

    Those before it have their entries by now, and so has it, unless the stream still writes: the quarantine's
    folder comes before the entry, that of the events with it.
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
                findings.add(FILES, message, file=_relative(folder, kind / EMPTY))


def check_folder(folder: Folder, entry: Entry, findings: Findings, *, whole: bool) -> None:
    """The folders of one entry.

    Each file that it names is there and is what was published, and there is nothing else.

    Args:
        whole: Hold the content of the files against their SHA-256 as well, not only size, rows and columns.
    """
    for kind, files, schema in zip(
        (folder.events, folder.quarantine),
        (entry.events, entry.quarantine),
        schemas(entry.contract),
        strict=True,
    ):
        place = folder.published(kind, entry.number)
        for file in files:
            findings.checked[FILES] += whole
            path = place / file.name
            try:
                _check_file(path, file, schema, whole=whole)
            except WrongFileError as error:
                message = f"{error}. It holds, by its entry, {_spans(file)}"
                findings.add(
                    FILES, message, micro_batch=entry.number, file=_relative(folder, path), **_where(file)
                )
        named = {file.name for file in files} | ({ENTRY} if kind == folder.events else set())
        if not named and os.path.lexists(place):
            message = "no entry names this folder; readers would see what is in it"
            findings.add(FILES, message, micro_batch=entry.number, file=_relative(folder, place))
        elif named:
            found = _listed(folder, place, findings, micro_batch=entry.number)
            _check_nothing_more(folder, place, found, named, findings, micro_batch=entry.number)
            if ENTRY in found and kind == folder.events and not found[ENTRY].is_file(follow_symlinks=False):
                message = "the entry is a link or not a regular file"
                findings.add(FILES, message, micro_batch=entry.number, file=_relative(folder, place / ENTRY))


def check_unnamed(folder: Folder, micro_batch: int, findings: Findings) -> None:
    """The folders of a micro-batch whose entry is missing or can't be read.

    No entry names what is in them.
    """
    for kind in (folder.events, folder.quarantine):
        place = folder.published(kind, micro_batch)
        found = _listed(folder, place, findings, micro_batch=micro_batch)
        _check_nothing_more(folder, place, found, (), findings, micro_batch=micro_batch)


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
        raise WrongFileError(
            "the file has metadata of its own, by which pandas may take a column for an index"
        )


def _require_rows(footer: Footer, rows: int) -> None:
    if footer.rows != rows:
        raise WrongFileError(f"the file has {footer.rows:,} rows instead of {rows:,}")


def _listed(folder: Folder, place: Path, findings: Findings, **where: Any) -> dict[str, "os.DirEntry[str]"]:
    """What lies in a folder, by name; nothing if there is no folder.

    One that can't be listed is a finding.
    """
    try:
        with os.scandir(place) as items:
            return {item.name: item for item in items}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise_if_short(error)
        findings.add(
            FILES, f"this can't be listed ({error.strerror})", file=_relative(folder, place), **where
        )
        return {}


def _check_nothing_more(
    folder: Folder,
    place: Path,
    found: Mapping[str, "os.DirEntry[str]"],
    named: Collection[str],
    findings: Findings,
    **where: Any,
) -> None:
    for name, item in found.items():
        if name not in named:
            _report_unnamed(folder, place / name, item, findings, **where)


def _report_unnamed(
    folder: Folder, path: Path, item: "os.DirEntry[str]", findings: Findings, *, hint: str = "", **where: Any
) -> None:
    """A finding about what no entry names, unless no reader minds it.

    A folder is one finding, whatever is in it.
    """
    if _is_ignored(item):
        return
    if item.is_dir(follow_symlinks=False):
        message = "no entry names this folder; readers would see what is in it"
    else:
        message = "no entry names this file; readers would see it"
    findings.add(FILES, message + hint, file=_relative(folder, path), **where)


def _is_ignored(item: "os.DirEntry[str]") -> bool:
    """Whether something is a hidden file that no reader opens.

    File managers and network drives leave such: .DS_Store, .nfs0001.

    DuckDB and Polars read hidden files if they end in .parquet, and one that is named .parquet; Spark holds a
    file against the checksums in the hidden .crc file beside it. Hidden folders are another matter: DuckDB
    and Polars go into them.
    """
    return (
        item.name.startswith(".")
        and not item.name.lower().endswith((".parquet", ".crc"))
        and item.is_file(follow_symlinks=False)
    )


def _spans(file: DataFile) -> str:
    return (
        "; ".join(
            f"{s.rows:,} rows of {s.place}, offsets {s.lowest_offset} to {s.highest_offset}"
            for s in file.spans
        )
        or "no rows"
    )


def _where(file: DataFile) -> dict[str, Any]:
    """Position of a finding about a file that holds rows of one partition only."""
    if len(file.spans) != 1:
        return {}
    span = file.spans[0]
    return {
        "topic": span.topic,
        "partition": span.partition,
        "from_offset": span.lowest_offset,
        "until_offset": span.highest_offset + 1,
    }


def _relative(folder: Folder, path: Path) -> str:
    """A path below the pipeline's folder, as text that can be written to a report.

    Names on disk need not be UTF-8.
    """
    return os.fsencode(path.relative_to(folder.root)).decode("utf-8", "backslashreplace")
