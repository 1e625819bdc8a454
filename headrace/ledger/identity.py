"""What belongs together: one checkpoint, the topics it read, where it started, and the fields it decodes."""

import itertools
import json
from pathlib import Path

import msgspec

from headrace import documents
from headrace.contract.verdicts import Contract
from headrace.documents import Document
from headrace.errors import LedgerError
from headrace.ledger.folder import Folder
from headrace.ledger.ranges import Positions


class Identity(Document, frozen=True, kw_only=True):
    """`identity.json`: written before the first stream starts; only a new topic or partition adds to it."""

    pipeline: str
    checkpoint: str | None
    """Id that Spark gave the checkpoint; null until the first micro-batch is planned."""
    topics: dict[str, str]
    """Name → id that the broker gave the topic."""
    start: Positions
    contract: Contract
    """Of the first stream; its format and fields hold for good, its filter may change."""


def read_identity(folder: Folder) -> Identity | None:
    """The identity, or `None` before the first stream."""
    return documents.read(folder.identity, Identity) if folder.identity.exists() else None


def checkpoint_id(checkpoint: Path) -> str | None:
    """The id that Spark wrote when it made the checkpoint, or `None` if there is none."""
    try:
        return str(json.loads((checkpoint / "metadata").read_text())["id"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise LedgerError(f"{checkpoint / 'metadata'} is damaged: {error!r}. Put back a copy, or `headrace reset` the pipeline.") from error


def logged(checkpoint: Path, log: str) -> list[int]:
    """Micro-batch ids in one of the checkpoint's logs (`offsets` or `commits`), in order."""
    folder = checkpoint / log
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal()) if folder.exists() else []


def discard_unwritten(checkpoint: Path, last_entry: int) -> None:
    """Remove what a power cut left of the checkpoint's newest files: names without content, which Spark can't read and never gets past.

    Both are made anew by the next stream: a plan that nothing was published by, and the note that a published micro-batch is done.
    """
    newest_commits = [checkpoint / "commits" / str(each) for each in range(last_entry, -1, -1)]
    unwritten = [*itertools.takewhile(_is_empty, newest_commits), *filter(_is_empty, [checkpoint / "offsets" / str(last_entry + 1)])]
    for path in unwritten:
        path.unlink()
        path.with_name(f".{path.name}.crc").unlink(missing_ok=True)


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def planned_until(checkpoint: Path, micro_batch: int, start: Positions) -> Positions:
    """Where a micro-batch ends by Spark's plan; a partition that joined after it was planned still stands at its start."""
    planned = planned_positions(checkpoint, micro_batch)
    return {topic: {**partitions, **planned.get(topic, {})} for topic, partitions in {**planned, **start}.items()}


def planned_positions(checkpoint: Path, micro_batch: int) -> Positions:
    """Where a micro-batch ends according to Spark's offset log.

    The log's last line holds the positions of the one Kafka source; lines before it hold a version and Spark's settings.
    """
    path = checkpoint / "offsets" / str(micro_batch)
    try:
        return msgspec.json.decode(path.read_text().splitlines()[-1], type=Positions)
    except (OSError, IndexError, msgspec.DecodeError) as error:
        raise LedgerError(
            f"{path} can't be read: {error}. The checkpoint is damaged; put back a copy, or `headrace reset` the pipeline."
        ) from error
