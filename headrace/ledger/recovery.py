"""A checkpoint that a crash or a power cut has left unfinished, and plans that have to be replaced."""

import itertools
import logging
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from headrace import documents
from headrace.errors import LedgerError
from headrace.kafka.offsets import Offsets
from headrace.ledger.checkpoint import logged, planned_offsets, planned_until, torn
from headrace.ledger.folder import Folder
from headrace.ledger.identity import Identity

log = logging.getLogger("headrace")


def recover(folder: Folder, identity: Identity, newest: int, ends: Offsets) -> Identity:
    """Discard what a power cut has torn and no published micro-batch relies on. The caller holds the lock.

    What is relied on stays as it is, to be refused by `check_checkpoint`. Whatever is removed here may come
    back should the power fail again: then it is removed again.

    Args:
        folder: The pipeline's folder.
        identity: What is in `identity.json`.
        newest: Number of the newest entry, -1 if there is none.
        ends: Where the ledger ends.

    Returns:
        The identity; written with no checkpoint's id if the whole checkpoint was discarded, the same
        otherwise.
    """
    if newest < 0:
        return _recover_unpublished(folder, identity)
    checkpoint = folder.checkpoint
    for path, why in _discarded(checkpoint, newest):
        _checksum(path).unlink(missing_ok=True)
        path.unlink()
        log.warning("Removed %s, which a power cut left behind: %s.", path, why)
    metadata = checkpoint / "metadata"
    if identity.checkpoint and _is_lost(metadata) and _ends_there(checkpoint, newest, identity.start, ends):
        _checksum(metadata).unlink(missing_ok=True)
        documents.replace(metadata, msgspec.json.encode({"id": identity.checkpoint}))
        log.warning(
            "Restored %s, which lost its content in a power cut, from the id in identity.json.", metadata
        )
    return identity


def _discarded(checkpoint: Path, newest: int) -> Iterator[tuple[Path, str]]:
    """Files that stop Spark and that no entry relies on, and why they may go."""
    noted = (
        checkpoint / "commits" / str(each)
        for each in reversed(logged(checkpoint, "commits"))
        if each <= newest
    )
    for path in itertools.takewhile(torn, noted):
        yield path, f"its content is lost; micro-batch {path.name} is published already"
    for path in _sources(checkpoint):
        if torn(path):
            yield (
                path,
                "its content is lost; the first micro-batch, which started there, is published already",
            )
    plan = checkpoint / "offsets" / str(newest + 1)
    if plan.exists() and torn(plan):
        yield plan, "its content is lost; nothing was published by this plan, and Spark makes a new one"
    for path in (
        *_orphans(checkpoint, "commits"),
        *_orphans(checkpoint, "sources/*"),
        *_orphans(checkpoint, "offsets"),
    ):
        if path.parent.name != "offsets" or path == _checksum(plan):
            yield path, "it is a checksum without its file, and Spark fails when it writes that file"


def needs_recovery(folder: Folder, identity: Identity, newest: int, ends: Offsets) -> bool:
    """Whether `recover`, with the same arguments, would change anything."""
    if newest < 0:
        return _lost_unpublished(folder.checkpoint, identity) is not None
    is_restored = identity.checkpoint and _is_lost(folder.checkpoint / "metadata")
    return any(_discarded(folder.checkpoint, newest)) or bool(
        is_restored and _ends_there(folder.checkpoint, newest, identity.start, ends)
    )


def _lost_unpublished(checkpoint: Path, identity: Identity) -> Path | None:
    """A part of a checkpoint that is lost while nothing is published."""
    planned = logged(checkpoint, "offsets")
    if logged(checkpoint, "commits") or any(planned):
        return None  # something was published, and its entry is gone
    if not checkpoint.exists() and identity.checkpoint is None:
        return None
    sources = _sources(checkpoint)
    parts = [*sources, *(checkpoint / "offsets" / str(each) for each in planned)]
    lost = next((path for path in (checkpoint / "metadata", *parts) if _is_lost(path)), None)
    if lost is None and planned and not sources:
        lost = checkpoint / "sources"
    if lost is None and not planned:
        left = [
            *(path for name in ("offsets", "commits", "state") for path in (checkpoint / name).glob("*")),
            *_orphans(checkpoint, "sources/*"),
        ]
        lost = checkpoint / "offsets" / "0" if left else None
    return lost


def _recover_unpublished(folder: Folder, identity: Identity) -> Identity:
    """Discard the checkpoint as a whole if a part of it is lost.

    As long as nothing is published, all of it can be made again.

    A part alone can't: Spark refuses a plan without `metadata`, and a plan is bound to the partitions that
    `sources` names. Where there is no plan yet, Spark refuses a checkpoint with any file in its logs, and a
    driver that was killed leaves temporary ones there.
    """
    checkpoint = folder.checkpoint
    lost = _lost_unpublished(checkpoint, identity)
    if lost is None:
        return identity
    _move_out(folder)
    if identity.checkpoint is not None:
        identity = msgspec.structs.replace(identity, checkpoint=None)
        documents.write(folder.identity, identity)
    log.warning(
        "Removed %s, where %s is lost (a power cut, or a killed driver): nothing is published yet, and Spark makes a new one.",
        checkpoint,
        lost,
    )
    return identity


def plan_again(checkpoint: Path, newest: int, ends: Offsets, most: int) -> None:
    """Remove a plan that nothing was published by if it is larger than a micro-batch may be by now.

    Spark would carry it out as it is.

    Args:
        checkpoint: Spark's.
        newest: Number of the newest entry, -1 if there is none.
        ends: Where the ledger ends.
        most: Records that a micro-batch may have.
    """
    path = checkpoint / "offsets" / str(newest + 1)
    if not path.exists():
        return
    planned = planned_offsets(checkpoint, newest + 1)
    count = sum(offset - ends.get(place, 0) for place, offset in planned.items())
    if count > most:
        _checksum(path).unlink(missing_ok=True)
        path.unlink()
        log.info(
            "micro-batch %d: %s offsets were planned and not published; planned again with %s at most",
            newest + 1,
            f"{count:,}",
            f"{most:,}",
        )


def write_plan(folder: Folder, identity: Identity, number: int, ends: Offsets) -> Identity:
    """Write a plan for an entry that Spark did not plan, so that the stream goes on after it.

    The caller holds the lock.

    A plan of Spark's own by that number is removed: nothing was published by it. Before the first entry the
    whole checkpoint is made.

    Args:
        folder: The pipeline's folder.
        identity: What is in `identity.json`.
        number: Of the entry.
        ends: Where every partition stands after it.

    Returns:
        The identity, which names the new checkpoint if one was made.
    """
    checkpoint = folder.checkpoint
    if number > 0:
        plan, before = (checkpoint / "offsets" / str(each) for each in (number, number - 1))
        _checksum(plan).unlink(missing_ok=True)
        plan.unlink(missing_ok=True)
        documents.replace(plan, _plan(before.read_text().splitlines()[:-1], ends))
        return identity
    if identity.checkpoint is not None:  # first: should this be killed, no checkpoint is missed
        documents.write(folder.identity, msgspec.structs.replace(identity, checkpoint=None))
    _move_out(folder)
    made = folder.staging / "checkpoint"
    documents.make_folder(made / "offsets")
    identity = msgspec.structs.replace(identity, checkpoint=str(uuid.uuid4()))
    documents.replace(made / "metadata", msgspec.json.encode({"id": identity.checkpoint}))
    header = {
        "batchWatermarkMs": 0,
        "batchTimestampMs": int(datetime.now(UTC).timestamp() * 1000),
        "conf": {},
    }
    documents.replace(made / "offsets" / "0", _plan(["v1", msgspec.json.encode(header).decode()], ends))
    made.rename(checkpoint)
    documents.sync_directory(folder.root)
    documents.write(folder.identity, identity)
    return identity


def _plan(header: list[str], ends: Offsets) -> bytes:
    return "\n".join([*header, msgspec.json.encode(ends.by_topic()).decode()]).encode()


def _move_out(folder: Folder) -> None:
    """Remove a checkpoint from which nothing was published: at once, so that no cut leaves a part of it."""
    if folder.checkpoint.exists():
        aside = folder.staging / f"checkpoint-{uuid.uuid4().hex[:8]}"
        aside.parent.mkdir(exist_ok=True)
        folder.checkpoint.rename(aside)
        documents.sync_directory(folder.root)
        shutil.rmtree(aside)


def _sources(checkpoint: Path) -> list[Path]:
    return [path for path in (checkpoint / "sources").glob("*/*") if path.name.isdecimal()]


def _orphans(checkpoint: Path, folders: str) -> list[Path]:
    """Checksums in some folders of files that are not there, temporary ones aside."""
    checksums = {path: path.with_name(path.name[1:-4]) for path in checkpoint.glob(f"{folders}/.*.crc")}
    return sorted(path for path, of in checksums.items() if of.name.isdecimal() and not of.exists())


def _is_lost(path: Path) -> bool:
    return not path.exists() or torn(path)


def _ends_there(checkpoint: Path, micro_batch: int, start: Offsets, ends: Offsets) -> bool:
    try:
        return planned_until(checkpoint, micro_batch, start) == ends
    except LedgerError:
        return False


def _checksum(path: Path) -> Path:
    """Hadoop's checksum file beside one of Spark's.

    It must not outlive it, since Spark fails where it would replace one.
    """
    return path.with_name(f".{path.name}.crc")
