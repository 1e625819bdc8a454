"""The chain of all entries, which is the ledger: read, listed and joined."""

import hashlib
from pathlib import Path

import msgspec

from headrace import documents
from headrace.errors import LedgerError
from headrace.kafka.offsets import OffsetRange, Offsets, advance
from headrace.ledger.entry import CHECKED_KINDS, Acceptance, Entry, Totals
from headrace.ledger.folder import ENTRY, Folder, micro_batch_of


class Link(msgspec.Struct, frozen=True):
    """An entry, and the SHA-256 of its bytes: what the next one names."""

    entry: Entry
    sha256: str


def entry_path(folder: Folder, number: int) -> Path:
    """Where an entry lies."""
    return folder.published(folder.events, number) / ENTRY


def read_link(folder: Folder, number: int) -> Link:
    """One entry.

    Raises `LedgerError` if it is missing, can't be read, or lies in another micro-batch's folder.
    """
    path = entry_path(folder, number)
    try:
        data = documents.content(path)
    except FileNotFoundError as error:
        raise LedgerError(f"{path} is missing. Put back a copy.") from error
    except OSError as error:
        raise LedgerError(f"{path} can't be read: {error.strerror}. Put back a copy.") from error
    entry = documents.decode(path, data, Entry)
    if entry.number != micro_batch_of(path.parent):
        raise LedgerError(
            f"{path} is the entry of micro-batch {entry.number}: it was moved here from another folder. Move it back."
        )
    return Link(entry, hashlib.sha256(data).hexdigest())


def newest_number(folder: Folder, near: int = -1) -> int:
    """The number of the newest entry, whatever is in it; -1 before the first.

    Args:
        near: A number that may be that of an entry: from there on it takes no listing of the folder.
    """
    if near < 0 or not entry_path(folder, near).exists():
        near = max(published_numbers(folder), default=-1)
    while entry_path(folder, near + 1).exists():
        near += 1
    return near


def published_numbers(folder: Folder) -> list[int]:
    """The numbers of all entries, in order, by the names of their folders.

    A folder far behind the others that holds no entry of that number was put there by accident: it is not the
    newest one.
    """
    numbers = folder.micro_batches()
    while numbers and not _belongs(folder, numbers):
        numbers.pop()
    return numbers


def _belongs(folder: Folder, numbers: list[int]) -> bool:
    if not entry_path(folder, numbers[-1]).exists():
        return False
    try:
        return (
            numbers[-1] - 1 in {-1, *numbers[-2:-1]}
            or read_link(folder, numbers[-1]).entry.number == numbers[-1]
        )
    except LedgerError:
        return False


def newest_link(folder: Folder) -> Link | None:
    """The newest entry, or `None` before the first.

    Raises `LedgerError` if it can't be read, or a micro-batch's folder before it is missing.
    """
    numbers = published_numbers(folder)
    if not numbers:
        return None
    missing = next((place for place, number in enumerate(numbers) if place != number), None)
    if missing is not None:
        raise LedgerError(
            f"The ledger in {folder.root} is broken: {folder.published(folder.events, missing)} is missing. Put back a copy."
        )
    return read_link(folder, numbers[-1])


def entries(folder: Folder) -> list[Entry]:
    """The whole ledger, in order. Raises `LedgerError` like `read_link`."""
    return [read_link(folder, number).entry for number in published_numbers(folder)]


def joined(before: Link | None, entry: Entry) -> str | None:
    """Why an entry does not follow the one before it, or `None` if it does.

    Args:
        before: `None` where `entry` is the first.
    """
    if entry.number != (before.entry.number + 1 if before else 0):
        return f"the entry of micro-batch {before.entry.number + 1 if before else 0} is missing"
    if before and entry.previous != before.sha256:
        return f"micro-batch {entry.number} follows another entry of micro-batch {before.entry.number} than the one on disk; entries never change"
    return _misfit(before.entry if before else None, entry) if entry.kind in CHECKED_KINDS else None


def _misfit(before: Entry | None, entry: Entry) -> str | None:
    """Why an entry's ranges and totals do not go on where the entry before ends."""
    at = before.offsets if before else Offsets()
    if known := [place for place in entry.starts if place in at]:
        return f"micro-batch {entry.number} starts {known[0]} a second time"
    stands = at | entry.starts
    try:
        within, behind = split_lost(entry.accepted, stands)
        ends = advance(stands, [*entry.ranges, *behind])
    except ValueError as error:
        return f"micro-batch {entry.number} does not join: {error}"
    if ends != entry.offsets:
        return f"micro-batch {entry.number} ends at {entry.offsets}, its ranges at {ends}"
    if (
        totals := (before.totals if before else Totals()).plus(entry.accounts).less_gaps(within)
    ) != entry.totals:
        return f"micro-batch {entry.number} claims totals of {entry.totals}, the accounts up to it add up to {totals}"
    return None


def split_lost(accepted: Acceptance | None, stands: Offsets) -> tuple[list[OffsetRange], list[OffsetRange]]:
    """The lost ranges of an acceptance.

    Those within what was published before, and those behind it, which move the ledger's end.

    Args:
        stands: The next offset of each partition before the acceptance.

    Raises `ValueError` for a range that is neither, or for an unproven one that was never published.
    """
    within: list[OffsetRange] = []
    behind: list[OffsetRange] = []
    for each in accepted.lost if accepted else ():
        (within if each.until_offset <= stands.get(each.place, 0) else behind).append(each)
    for each in accepted.unproven if accepted else ():
        if each.until_offset > stands.get(each.place, 0):
            raise ValueError(f"{each} was never published, so it can't be unproven")
    return within, behind
