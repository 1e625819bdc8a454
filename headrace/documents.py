"""JSON documents on disk: typed, versioned, written whole or not at all."""

import itertools
import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from headrace.errors import Code, LedgerError, OutdatedError


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything that is kept as a JSON file.

    Each kind has a field `schema`, the version of its form; see `docs/schemas`.
    """


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a document is made of."""


class _Version(msgspec.Struct):
    """The version of any document."""

    schema: int


class Stored(ABC):
    """A value within a document that msgspec does not know."""

    __slots__ = ()

    @abstractmethod
    def to_json(self) -> Any:
        """This value as JSON types."""

    @classmethod
    @abstractmethod
    def from_json(cls, value: Any) -> "Stored":
        """The value that `to_json` wrote. Raises `ValueError`."""

    @classmethod
    @abstractmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON Schema of what `to_json` writes."""


DocumentT = TypeVar("DocumentT", bound=Document)


def write(path: Path, document: Document) -> None:
    """Replace `path` by the document, as a whole."""
    data = msgspec.json.format(encode(document), indent=1)
    # Structs don't validate when they are made.
    msgspec.json.decode(data, type=type(document), dec_hook=decode_other)
    replace(path, data)


def encode(value: object) -> bytes:
    """A value as JSON."""
    return msgspec.json.encode(value, enc_hook=encode_other)


def encode_other(value: object) -> object:
    """For msgspec: what it does not know, in types that it does."""
    if isinstance(value, Stored):
        return value.to_json()
    raise NotImplementedError(f"{type(value).__name__} can't be written as JSON")


def decode_other(kind: type, value: Any) -> object:
    """For msgspec: the reverse of `encode_other`."""
    if issubclass(kind, Stored):
        return kind.from_json(value)
    raise NotImplementedError(f"{kind.__name__} can't be read from JSON")


def replace(path: Path, data: bytes) -> None:
    """Let a file have this content: readers see the old one or the new one, also after a power cut."""
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_directory(path.parent)


def read(path: Path, kind: type[DocumentT]) -> DocumentT:
    """Read a document.

    Raises `LedgerError` naming the file if it is not what it should be (`OutdatedError` if an earlier version
    of Headrace wrote it), `FileNotFoundError` if it is absent.
    """
    return decode(path, content(path), kind)


def content(path: Path) -> bytes:
    """What is in a file.

    Raises `LedgerError` for what is no regular file: a folder can't be read, and a FIFO would be waited for.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise LedgerError(f"{path} is not a regular file. Put back a copy.")
    return path.read_bytes()


def decode(path: Path, data: bytes, kind: type[DocumentT]) -> DocumentT:
    """The document in a file's content. Raises like `read`."""
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=decode_other)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if (version := _version(data)) and version < _written_version(kind):
            raise OutdatedError(
                f"{path} has schema {version}, written by an earlier version of Headrace; this one can't read it. Keep using that version, "
                "or start over from what Kafka still holds: `headrace reset PIPELINE` moves the pipeline's folder aside."
            ) from error
        raise LedgerError(
            f"{path} is not a valid {kind.__name__}: {error}. It was altered or damaged; put back a copy.",
            code=Code.DOCUMENT_DAMAGED,
        ) from error


def _written_version(kind: type[Document]) -> int:
    return int(next(field.default for field in msgspec.structs.fields(kind) if field.name == "schema"))


def _version(data: bytes) -> int | None:
    try:
        return msgspec.json.decode(data, type=_Version).schema
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def sync(path: Path) -> None:
    """Make a file, and its name in its folder, survive a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_directory(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder that is not there yet, and those above it, so that their names survive a power cut."""
    missing = list(itertools.takewhile(lambda each: not each.exists(), (path, *path.parents)))
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_directory(made.parent)


def sync_directory(path: Path) -> None:
    """Make renames inside a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
