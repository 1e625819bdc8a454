"""I8: the files are those of the entries. And the cheap part of I5 and I6, over all history."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.errors import LedgerError
from headrace.ledger import identity as identities
from headrace.ledger.entries import DataFile, Entry, positions, read_entry
from headrace.ledger.folder import ENTRY, Folder, micro_batch_of
from headrace.ledger.identity import Identity
from headrace.ledger.publish import EMPTY
from headrace.verify.findings import Findings, Invariant

NO_ROWS = DataFile(name=EMPTY, bytes=0, sha256="", spans=[])
"""What the file that shows the columns to readers holds."""


def readable_entries(folder: Folder, findings: Findings) -> list[Entry]:
    """The ledger as far as it can be read; what can't is a finding."""
    ledger = []
    for path in folder.events.glob(f"*/{ENTRY}"):
        try:
            ledger.append(read_entry(path))
        except LedgerError as error:
            findings.add(Invariant.FILES_EQUAL, str(error), micro_batch=micro_batch_of(path.parent), file=_relative(folder, path))
    return sorted(ledger, key=lambda entry: entry.micro_batch)


def check_chain(folder: Folder, identity: Identity | None, ledger: Sequence[Entry], committed: Sequence[int], findings: Findings) -> None:
    """I5: ranges join from identity's start to the checkpoint's last commit. And each account balances, as I6 asks."""
    findings.checked[Invariant.RANGES_JOIN] += len(ledger)
    for entry in ledger:
        for account in entry.accounts:
            if not account.balances:
                findings.add(
                    Invariant.BALANCE,
                    f"the entry does not balance: {account.kept:,} kept + {account.filtered:,} filtered + {account.quarantined:,} quarantined + "
                    f"{account.gaps:,} gaps are not {len(account.range):,} offsets",
                    topic=account.topic,
                    partition=account.partition,
                    from_offset=account.from_offset,
                    until_offset=account.until_offset,
                    micro_batch=entry.micro_batch,
                )
    if identity is not None:
        _check_joins(folder, identity, ledger, committed, findings)
    elif ledger or committed:
        findings.add(Invariant.RANGES_JOIN, "identity.json is missing: where the ledger starts is not known", file="identity.json")


def _check_joins(folder: Folder, identity: Identity, ledger: Sequence[Entry], committed: Sequence[int], findings: Findings) -> None:
    if identity.checkpoint is None and not ledger and not committed:
        return  # Spark is about to plan the first micro-batch, or was killed before it did
    for entry in ledger:
        if (entry.checkpoint, entry.contract.fields) != (identity.checkpoint, identity.contract.fields):
            message = "the entry belongs to another checkpoint than identity.json names, or has other fields"
            findings.add(Invariant.RANGES_JOIN, message, micro_batch=entry.micro_batch)
    try:
        ends = positions(identity.start, ledger)
        if (found := identities.checkpoint_id(folder.checkpoint)) != identity.checkpoint:
            findings.add(Invariant.RANGES_JOIN, f"the ledger belongs to checkpoint {identity.checkpoint}, but there is {found or 'none'}")
        elif committed and committed[-1] >= len(ledger):
            findings.add(
                Invariant.RANGES_JOIN,
                f"the checkpoint has committed micro-batch {committed[-1]}, but the ledger ends at {len(ledger) - 1}: entries are missing",
                micro_batch=committed[-1],
            )
        elif ledger and (planned := identities.planned_until(folder.checkpoint, ledger[-1].micro_batch, identity.start)) != ends:
            findings.add(
                Invariant.RANGES_JOIN, f"the ledger ends at {ends}, the checkpoint's plan at {planned}", micro_batch=ledger[-1].micro_batch
            )
    except (ValueError, LedgerError) as error:
        findings.add(Invariant.RANGES_JOIN, str(error))


def check_files(folder: Folder, ledger: Sequence[Entry], scope: frozenset[int], findings: Findings) -> None:
    """Names, sizes and footers' row counts of every file; checksums of those in the scope. Nothing more, nothing less."""
    for kind in (folder.events, folder.quarantine):
        known = {entry.micro_batch: entry.events if kind == folder.events else entry.quarantine for entry in ledger}
        for micro_batch, files in known.items():
            for file in files:
                path = folder.published(kind, micro_batch) / file.name
                findings.checked[Invariant.FILES_EQUAL] += 1
                if wrong := _wrong(path, file, whole=micro_batch in scope):
                    message = f"{wrong}. It holds, by its entry, {_spans(file)}"
                    findings.add(Invariant.FILES_EQUAL, message, micro_batch=micro_batch, file=_relative(folder, path), **_where(file))
        _check_nothing_more(folder, kind, {micro_batch: {file.name for file in files} for micro_batch, files in known.items()}, findings)


def _check_nothing_more(folder: Folder, kind: Path, known: dict[int, set[str]], findings: Findings) -> None:
    newest = max(known, default=-1)
    if (kind / EMPTY).exists() and (wrong := _wrong(kind / EMPTY, NO_ROWS, whole=False)):
        findings.add(Invariant.FILES_EQUAL, f"{wrong}: it is there for its columns only", file=_relative(folder, kind / EMPTY))
    for place in kind.glob("*"):
        micro_batch = micro_batch_of(place)
        if micro_batch is not None and micro_batch > newest and _is_being_published(folder, kind, newest, micro_batch):
            continue
        names = known.get(micro_batch, set()) if micro_batch is not None else set()
        if kind == folder.events and micro_batch in known:
            names = names | {ENTRY}
        for path in place.rglob("*") if place.is_dir() else [place]:
            relative = path.relative_to(kind)
            if path.is_file() and path.name.startswith(".") and path.suffix != ".parquet":
                continue  # such as a file manager leaves; no reader takes it for records
            if str(relative) != EMPTY and (len(relative.parts) != 2 or relative.name not in names):  # noqa: PLR2004, folder and file
                findings.add(
                    Invariant.FILES_EQUAL,
                    "no entry knows this file; readers would see it. (If its stream was killed, running the ingest again removes it)"
                    if kind == folder.quarantine and micro_batch == newest + 1
                    else "no entry knows this file; readers would see it",
                    micro_batch=micro_batch,
                    file=_relative(folder, path),
                )


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


def _wrong(path: Path, file: DataFile, *, whole: bool) -> str | None:
    """What is wrong with a published file, or `None`."""
    if not path.is_file():
        return "the file is missing"
    try:
        rows = pq.ParquetFile(path).metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        return f"the file can't be read as Parquet ({str(error).splitlines()[0]})"
    if rows != file.rows:
        return f"the file has {rows:,} rows instead of {file.rows:,}"
    if file is not NO_ROWS and (size := path.stat().st_size) != file.bytes:
        return f"the file has {size:,} bytes instead of {file.bytes:,}"
    if whole:
        with path.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != file.sha256:
                return "the file's content is not what was published (SHA-256)"
    return None


def _spans(file: DataFile) -> str:
    return (
        "; ".join(f"{s.rows:,} rows of {s.topic}-{s.partition}, offsets {s.lowest_offset} to {s.highest_offset}" for s in file.spans)
        or "no rows"
    )


def _where(file: DataFile) -> dict[str, Any]:
    """Position of a finding about a file that holds rows of one partition only."""
    if len(file.spans) != 1:
        return {}
    span = file.spans[0]
    return {"topic": span.topic, "partition": span.partition, "from_offset": span.lowest_offset, "until_offset": span.highest_offset + 1}


def _relative(folder: Folder, path: Path) -> str:
    return str(path.relative_to(folder.root))
