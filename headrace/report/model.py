"""What a report says: the account of one verify run."""

from datetime import datetime
from enum import StrEnum

import msgspec

from headrace.documents import Document
from headrace.ledger.progress import LastRecord


class State(StrEnum):
    """Outcome of a verify run."""

    GREEN = "green"
    RED = "red"


class InvariantState(StrEnum):
    """Outcome of one invariant."""

    HELD = "held"
    BROKEN = "broken"
    UNVERIFIABLE = "unverifiable"


class ReceiptState(StrEnum):
    """What verify could say about a receipt: `open` and `pending` ones are no part of what was published yet."""

    VERIFIED = "verified"
    AGED_OUT = "aged_out"
    """Verified while Kafka held its records; the receipt is still what it was then."""
    BROKEN = "broken"
    PENDING = "pending"
    OPEN = "open"


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a report."""


class Finding(Part, frozen=True, kw_only=True):
    """One place where an invariant does not hold; `message` says what and where in words."""

    message: str
    topic: str | None = None
    partition: int | None = None
    from_offset: int | None = None
    until_offset: int | None = None
    micro_batch: int | None = None
    file: str | None = None
    receipt: str | None = None


class Invariant(Part, frozen=True, kw_only=True):
    """One of I1 to I8: how many things were checked, and the first findings (`found` counts all of them)."""

    id: str
    title: str
    state: InvariantState
    checked: int
    unit: str
    found: int
    findings: list[Finding]


class Balance(Part, frozen=True, kw_only=True):
    """The account of one topic-partition over the scope: until - from = kept + filtered + quarantined + gaps."""

    topic: str
    partition: int
    from_offset: int
    until_offset: int
    kept: int
    filtered: int
    quarantined: int
    gaps: int


class Landed(Part, frozen=True, kw_only=True):
    """What a receipt claims for one topic-partition and how many of its records were read back from there."""

    topic: str
    partition: int
    lowest_offset: int
    highest_offset: int
    count: int
    landed: int


class ReceiptAccount(Part, frozen=True, kw_only=True):
    """One receipt: wanted records, claimed and read-back positions."""

    run: str
    state: ReceiptState
    wanted: int
    landed: int
    partitions: list[Landed]


class Reason(Part, frozen=True, kw_only=True):
    """How many records of the scope were quarantined for a reason."""

    reason: str
    count: int


class Minute(Part, frozen=True, kw_only=True):
    """How many kept records of the scope carry a timestamp in this minute (UTC). A report holds a week's worth of minutes, the newest."""

    minute: datetime
    kept: int


class Sample(Part, frozen=True, kw_only=True):
    """One kept record, shortened for display."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime | None
    key: str | None
    values: dict[str, str | None]


class MicroBatch(Part, frozen=True, kw_only=True):
    """One micro-batch of the scope; `seconds` from plan to publish."""

    id: int
    published_at: datetime
    seconds: float
    kept: int
    filtered: int
    quarantined: int
    gaps: int
    files: int
    bytes: int
    filter: str


class Totals(Part, frozen=True, kw_only=True):
    """Counts over all micro-batches ever published."""

    micro_batches: int
    kept: int
    filtered: int
    quarantined: int
    gaps: int


class Wanting(Part, frozen=True, kw_only=True):
    """Everything that has a finding, also where only some of the findings are told."""

    micro_batches: list[int]
    restorable: list[int]
    """Those of the micro-batches whose entry or files were missing or others (I5, I8): hashes tell when they are put back."""
    receipts: list[str]


class Hashes(Part, frozen=True, kw_only=True):
    """SHA-256 of the documents in the scope as they were when they were checked: `verified.json` moves only if they still are."""

    entries: dict[int, str]
    """By micro-batch."""
    receipts: dict[str, str]
    """By run."""


class Report(Document, frozen=True, kw_only=True):
    """The account of one verify run, as in `reports/<run>/report.json`."""

    pipeline: str
    description: str
    run: str
    state: State
    checked_at: datetime
    seconds: float
    versions: dict[str, str]
    balance: list[Balance]
    receipts: list[ReceiptAccount]
    invariants: list[Invariant]
    wanting: Wanting
    last_records: list[LastRecord]
    """Per topic-partition, the last record that was read back."""
    hashes: Hashes
    quarantine: list[Reason]
    kept_per_minute: list[Minute]
    samples: list[Sample]
    micro_batches: list[MicroBatch]
    aged_out: list[int]
    """Those of them of which Kafka no longer holds all records: verified while it did, and their entries and files are what they were then."""
    ever: Totals
    events: str
    """Folder of the kept records."""
    quarantined_records: str
    """Folder of the quarantined records."""
