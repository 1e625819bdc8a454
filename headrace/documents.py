"""JSON documents on disk: typed, versioned, written whole or not at all."""

import os
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from headrace.errors import LedgerError


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything that is kept as a JSON file. Its JSON Schemas are in `docs/schemas`."""

    schema: Literal[1] = 1


DocumentT = TypeVar("DocumentT", bound=Document)


def write(path: Path, document: Document) -> None:
    """Replace `path` by the document, as a whole."""
    data = msgspec.json.format(msgspec.json.encode(document), indent=1)
    msgspec.json.decode(data, type=type(document))  # structs don't validate when they are made
    replace(path, data)


def replace(path: Path, data: bytes) -> None:
    """Let a file have this content: readers see the old one or the new one, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_directory(path.parent)


def read(path: Path, kind: type[DocumentT]) -> DocumentT:
    """Read a document. Raises `LedgerError` naming the file if it is not what it should be, `FileNotFoundError` if absent."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise LedgerError(f"{path} is not a valid {kind.__name__}: {error}. It was altered or damaged; put back a copy.") from error


def sync(path: Path) -> None:
    """Make a file, and its name in its folder, survive a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames inside a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
