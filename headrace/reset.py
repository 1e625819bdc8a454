"""The way out after a topic or a folder was deleted.

Everything of a pipeline is moved aside, nothing is removed.
"""

from datetime import UTC, datetime
from pathlib import Path

from headrace.errors import UsageError
from headrace.ledger.folder import Folder


def explain(folder: Folder, aside: Path) -> str:
    """What a reset does, before it is done."""
    return (
        f"{folder.root} moves to {aside}: events, quarantine, checkpoint, receipts and reports, all as they are.\n"
        "The next run starts a new ledger from the pipeline file's `starting` position. Records that Kafka still holds are published again "
        "into the new folder; records that have aged out stay only in the old one."
    )


def aside(folder: Folder) -> Path:
    """Where a reset moves a pipeline's folder."""
    return folder.root.with_name(f"{folder.root.name}.reset-{datetime.now(UTC):%Y%m%dT%H%M%S}")


def reset(folder: Folder, place: Path) -> None:
    """Move the folder.

    Raises `BusyError` while a stream holds its lock, `UsageError` if there is nothing to move.
    """
    if not folder.root.exists():
        raise UsageError(f"{folder.root} does not exist: there is nothing to reset.")
    with folder.locked("headrace reset"):
        folder.root.rename(place)
