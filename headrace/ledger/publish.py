"""How a micro-batch becomes visible and final: staged under a name of its own, audited, then one rename.

Other stores commit otherwise; what is here is for a file system with atomic rename.
"""

import hashlib
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headrace import documents
from headrace.contract.verdicts import Contract, Verdict
from headrace.errors import LedgerError
from headrace.kafka.offsets import Extent, OffsetRange, TopicPartition
from headrace.ledger import checkpoint
from headrace.ledger.entry import Account, DataFile, Entry, Span
from headrace.ledger.folder import ENTRY, Folder

Counts = Mapping[tuple[TopicPartition, Verdict], int]
"""Records per topic, partition and verdict."""

UNPUBLISHED = "Nothing was published. Clear the task; if it comes to this again, keep the folder as it is and report it as a bug."

EMPTY = "micro_batch=-1/empty.parquet"
"""A file with the schema and no rows, so that readers don't raise before the first micro-batch."""

_POSITION = [
    pa.field("_topic", pa.string()),
    pa.field("_partition", pa.int32()),
    pa.field("_offset", pa.int64()),
    pa.field("_timestamp", pa.timestamp("us", tz="UTC")),
    pa.field("_key", pa.binary()),
]


@dataclass(frozen=True)
class Staging:
    """An attempt at one micro-batch."""

    root: Path

    @property
    def events(self) -> Path:
        """Kept records."""
        return self.root / "events"

    @property
    def quarantine(self) -> Path:
        """Unusable records; absent if there were none."""
        return self.root / "quarantine"


def prepare(folder: Folder, contract: Contract, newest: int) -> None:
    """Discard what an interrupted attempt left behind, and put the empty files in place.

    The caller holds the lock.

    Args:
        newest: Number of the newest entry, -1 before the first: the quarantine of a micro-batch comes into
            place before its entry.
    """
    if folder.staging.exists():
        shutil.rmtree(folder.staging)
    left = folder.published(folder.quarantine, newest + 1)
    if left.exists():
        shutil.rmtree(left)
    for kind, schema in zip((folder.events, folder.quarantine), schemas(contract), strict=True):
        path = kind / EMPTY
        if not path.exists():
            documents.make_folder(path.parent)
            folder.staging.mkdir(exist_ok=True)
            staged = folder.staging / path.name
            pq.write_table(schema.empty_table(), staged)
            documents.sync(staged)
            staged.rename(path)  # whole or not at all, should this be killed
            documents.sync_directory(path.parent)


def schemas(contract: Contract) -> tuple[pa.Schema, pa.Schema]:
    """Columns of the kept records, and of the quarantined ones."""
    declared = [pa.field(field.name, field.type.arrow) for field in contract.fields]
    headers = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
    unusable = [
        pa.field("_value", pa.binary()),
        pa.field("_headers", headers),
        pa.field("reason", pa.string()),
        pa.field("field", pa.string()),
    ]
    return pa.schema(_POSITION + declared), pa.schema(_POSITION + unusable)


def stage(folder: Folder, micro_batch: int) -> Staging:
    """A new attempt's own folder, on the file system of the published ones and outside what readers glob."""
    staging = Staging(folder.staging / f"{micro_batch}-{uuid.uuid4().hex[:8]}")
    staging.root.mkdir(parents=True)
    return staging


def data_files(staged: Path) -> list[DataFile]:
    """Describe the Parquet files of a staged folder by what is on disk.

    Anything else in it (checksum files) is removed.
    """
    if not staged.exists():
        return []
    files = []
    for path in sorted(staged.iterdir()):
        if path.suffix != ".parquet" or path.name.startswith((".", "_")):
            path.unlink()
            continue
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        files.append(DataFile(name=path.name, bytes=path.stat().st_size, sha256=sha256, spans=spans(path)))
    return files


def spans(path: Path) -> list[Span]:
    """What a Parquet file holds of each topic-partition, read from its rows."""
    found: dict[TopicPartition, Extent] = {}
    for block in pq.ParquetFile(path).iter_batches(columns=["_topic", "_partition", "_offset"]):
        grouped = pa.Table.from_batches([block]).group_by(["_topic", "_partition"])
        for row in grouped.aggregate(
            [("_offset", "min"), ("_offset", "max"), ("_offset", "count")]
        ).to_pylist():
            place = TopicPartition(row["_topic"], row["_partition"])
            found[place] = Extent(row["_offset_min"], row["_offset_max"], row["_offset_count"]).joined(
                found.get(place)
            )
    return [
        Span(
            topic=place.topic,
            partition=place.partition,
            lowest_offset=extent.lowest,
            highest_offset=extent.highest,
            rows=extent.count,
        )
        for place, extent in sorted(found.items())
    ]


def audit(
    ranges: Iterable[OffsetRange], counts: Counts, events: Sequence[DataFile], quarantine: Sequence[DataFile]
) -> list[Account]:
    """The account of a staged micro-batch.

    What was counted while writing, held against the plan and against what lies on disk.

    Offsets that no verdict claims are gaps; verify confirms them by a read of its own. Raises `LedgerError`
    if the account does not balance.
    """
    accounts = []
    for offset_range in ranges:
        kept, filtered, quarantined = (counts.get((offset_range.place, verdict), 0) for verdict in Verdict)
        account = Account(
            topic=offset_range.topic,
            partition=offset_range.partition,
            from_offset=offset_range.from_offset,
            until_offset=offset_range.until_offset,
            kept=kept,
            filtered=filtered,
            quarantined=quarantined,
            gaps=len(offset_range) - kept - filtered - quarantined,
        )
        if not account.balances:
            raise LedgerError(
                f"{offset_range}: {account.read} records were read from {len(offset_range)} offsets. {UNPUBLISHED}"
            )
        for what, wanted, files in (("kept", kept, events), ("quarantined", quarantined, quarantine)):
            own = [span for file in files for span in file.spans if span.place == offset_range.place]
            if sum(span.rows for span in own) != wanted:
                raise LedgerError(
                    f"{offset_range}: {wanted} records were {what}, {sum(s.rows for s in own)} are in the staged files. {UNPUBLISHED}"
                )
            if any(
                span.lowest_offset not in offset_range or span.highest_offset not in offset_range
                for span in own
            ):
                raise LedgerError(
                    f"{offset_range}: a staged file holds an offset outside of it. {UNPUBLISHED}"
                )
        accounts.append(account)
    written = sum(file.rows for file in (*events, *quarantine))
    claimed = sum(account.kept + account.quarantined for account in accounts)
    if written != claimed or sum(counts.values()) != sum(account.read for account in accounts):
        raise LedgerError(
            f"{written} rows are staged and {claimed} are accounted for: a record of no planned range. {UNPUBLISHED}"
        )
    return accounts


def commit(folder: Folder, staging: Staging, entry: Entry) -> None:
    """Publish: quarantine first, then the rename that is the commit.

    What Spark needs to go on from there is made to survive a power cut before: an entry without its plan is
    refused for good.
    """
    checkpoint.sync(folder.checkpoint, entry.number)
    documents.write(staging.events / ENTRY, entry)  # makes the folder where there was nothing to write
    for staged in (staging.quarantine, staging.events):
        if staged.exists():
            for path in sorted(staged.iterdir()):
                documents.sync(path)
    if entry.quarantine:
        _bring(staging.quarantine, folder.published(folder.quarantine, entry.number))
    _bring(staging.events, folder.published(folder.events, entry.number))
    shutil.rmtree(staging.root)


def _bring(staged: Path, place: Path) -> None:
    documents.make_folder(place.parent)
    try:
        staged.rename(place)
    except OSError as error:
        raise LedgerError(
            f"{place} can't be brought into place: {error.strerror}. A published folder is never rewritten. Nothing of this micro-batch counts as published."
        ) from error
    documents.sync_directory(place.parent)
