"""Spark's checkpoint folder: what is read from it, and what must be on disk before a commit.

Spark syncs none of its files. After a power cut a file of the last seconds is whole, absent, or torn: its
name is there, its content is not. Spark reads a torn file at each start and fails. `sync` is called before
each commit, so whatever a published micro-batch relies on is whole. What can be torn is relied on by nothing
that is published, and `recovery.recover` discards it.
"""

import json
from pathlib import Path

import msgspec

from headrace import documents
from headrace.errors import Code, LedgerError
from headrace.kafka.offsets import Nested, Offsets


def checkpoint_id(checkpoint: Path) -> str | None:
    """The id that Spark wrote when it made the checkpoint, or `None` if there is none."""
    try:
        return str(json.loads((checkpoint / "metadata").read_text())["id"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise LedgerError(
            f"{checkpoint / 'metadata'} is damaged: {error!r}. Put back a copy, or `headrace reset` the pipeline."
        ) from error


def logged(checkpoint: Path, name: str) -> list[int]:
    """Micro-batch ids in one of the checkpoint's logs (`offsets` or `commits`), in order."""
    folder = checkpoint / name
    return (
        sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())
        if folder.exists()
        else []
    )


def planned_until(checkpoint: Path, micro_batch: int, start: Offsets) -> Offsets:
    """Where a micro-batch ends by Spark's plan.

    A partition that joined after it was planned still stands at its start.
    """
    planned = planned_offsets(checkpoint, micro_batch)
    return start | planned


def planned_offsets(checkpoint: Path, micro_batch: int) -> Offsets:
    """Where a micro-batch ends according to Spark's offset log.

    The log's last line holds the positions of the one Kafka source; lines before it hold a version and
    Spark's settings.
    """
    path = checkpoint / "offsets" / str(micro_batch)
    try:
        if torn(path):
            raise LedgerError(
                f"{path} has lost its content. The plan of a published micro-batch is synced before it is published, so this was no power cut: "
                "the disk or a copy of the folder is at fault. Put back a copy, or `headrace reset` the pipeline.",
                code=Code.PLAN_TORN,
            )
        return Offsets.nested(msgspec.json.decode(path.read_text().splitlines()[-1], type=Nested))
    except (OSError, IndexError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise LedgerError(
            f"{path} can't be read: {error}. The checkpoint is damaged; put back a copy, or `headrace reset` the pipeline."
        ) from error


def torn(path: Path) -> bool:
    """Whether a file of Spark's has lost its content: it is empty, or holds NUL bytes where text belongs.

    Raises `FileNotFoundError` if it is absent. Spark's files are text; the first byte of `sources/*/*` alone
    is NUL, for Spark 2.1's sake.
    """
    content = path.read_bytes()
    return content in {b"", b"\0"} or b"\0" in content[1:]


def sync(checkpoint: Path, micro_batch: int) -> None:
    """Make what a restart needs, after this micro-batch is published, survive a power cut.

    Called before the commit.

    That is the checkpoint's id, the start of its source and the plan of the micro-batch, with the folders
    that hold them. Syncing what is on disk already costs next to nothing.
    """
    sources = [path for path in (checkpoint / "sources").glob("*/*") if not path.name.startswith(".")]
    for path in (checkpoint / "metadata", *sources, checkpoint / "offsets" / str(micro_batch)):
        documents.sync(path)
    if sources:
        documents.sync_directory(checkpoint / "sources")
    root = checkpoint.parent
    for path in (checkpoint, root, root.parent):
        documents.sync_directory(path)


def note_committed(checkpoint: Path, number: int) -> None:
    """Note that a plan is carried out, where Spark did not make it.

    It would replay the plan, and refuse partitions that begin in it.
    """
    note = checkpoint / "commits" / str(number)
    if not note.exists():
        before = note.with_name(str(number - 1))
        documents.replace(note, before.read_bytes() if before.exists() else b'v1\n{"nextBatchWatermarkMs":0}')


def first_offsets(checkpoint: Path) -> Offsets:
    """Where Spark's own first plan began: `sources/0/0`, a NUL, the log's version, then positions.

    Empty where there is none that can be read.
    """
    try:
        return Offsets.nested(
            msgspec.json.decode(
                (checkpoint / "sources" / "0" / "0").read_bytes().splitlines()[-1], type=Nested
            )
        )
    except (OSError, IndexError, msgspec.DecodeError, UnicodeDecodeError):
        return Offsets()
