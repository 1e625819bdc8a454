"""What belongs together: one checkpoint, the topics it read, where it started, and the fields it decodes."""

from typing import Literal

from headrace import documents
from headrace.contract.verdicts import Contract
from headrace.documents import Document
from headrace.kafka.offsets import Offsets
from headrace.ledger.folder import Folder


class Identity(Document, frozen=True, kw_only=True):
    """`identity.json`: written before the first stream starts; only a new topic or partition adds to it."""

    schema: Literal[2] = 2
    pipeline: str
    checkpoint: str | None
    """Id that Spark gave the checkpoint; null until the first micro-batch is planned."""
    topics: dict[str, str]
    """Name → id that the broker gave the topic."""
    start: Offsets
    contract: Contract
    """Of the first stream; its format and fields hold for good, its filter may change."""


def read_identity(folder: Folder) -> Identity | None:
    """The identity, or `None` before the first stream."""
    return documents.read(folder.identity, Identity) if folder.identity.exists() else None
