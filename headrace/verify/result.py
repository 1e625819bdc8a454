"""What a report says: the account of one verify run.

One document in one file, so that its shape can be read from top to bottom.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from headrace.documents import Document, Part
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
    NOT_CHECKED = "not_checked"
    """Nothing was found, and not all of it could be looked at."""


RED = frozenset({InvariantState.BROKEN, InvariantState.UNVERIFIABLE})


class ReceiptState(StrEnum):
    """What verify could say about a receipt.

    `open` and `pending` ones are no part of what was published yet.
    """

    VERIFIED = "verified"
    AGED_OUT = "aged_out"
    """Verified while Kafka held its records; the receipt is still what it was then."""
    ACCEPTED = "accepted"
    """Never read back whole, which was accepted."""
    BROKEN = "broken"
    PENDING = "pending"
    OPEN = "open"


HELD = frozenset({ReceiptState.VERIFIED, ReceiptState.AGED_OUT, ReceiptState.ACCEPTED})
"""A receipt that nothing was found against."""
LOOKED_AT = HELD | {ReceiptState.BROKEN}
"""A receipt that a run checked."""


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
    """One of I1 to I10: how many things were checked, and the first findings (`found` counts all of them)."""

    id: str
    title: str
    state: InvariantState
    checked: int
    unit: str
    found: int
    findings: list[Finding]


class Balance(Part, frozen=True, kw_only=True):
    """The account of one topic-partition over the scope.

    Until - from = kept + filtered + quarantined + gaps.
    """

    topic: str
    partition: int
    from_offset: int
    until_offset: int
    kept: int
    filtered: int
    quarantined: int
    gaps: int
    lost: int = 0
    """Never published, gone from Kafka, and accepted."""

    @property
    def records(self) -> int:
        """How many records were found in the offsets."""
        return self.kept + self.filtered + self.quarantined

    @property
    def difference(self) -> int:
        """Offsets that nothing accounts for; negative if more is counted than there are offsets."""
        return self.until_offset - self.from_offset - self.records - self.gaps - self.lost


class Accepted(Part, frozen=True, kw_only=True):
    """An acceptance: offsets that were lost, or could not be proven any more."""

    entry: int
    """Number of the ledger's entry."""
    at: datetime
    by: str
    reason: str
    lost: int
    """Offsets that were never published."""
    unproven: int
    """Offsets that were published, and left Kafka before verify read them."""
    is_new: bool
    """Whether this run is the first to check it."""


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
    """How many records of the scope were quarantined for a reason, by the declared field that it is about."""

    reason: str
    field: str | None
    count: int


class Undeclared(Part, frozen=True, kw_only=True):
    """Names of JSON fields that records have and the pipeline does not declare.

    They are read from a sample, so there may be others.
    """

    sample: int
    """How many records were looked at."""
    fields: list[str]
    """The most frequent first; long ones are shortened."""
    more: bool
    """Whether the sample has more than are listed."""


class Minute(Part, frozen=True, kw_only=True):
    """How many kept records of the scope carry a timestamp in this minute (UTC).

    A report holds a week's worth of minutes, the newest.
    """

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


class Hidden(Part, frozen=True, kw_only=True):
    """The transaction that hides the end of a topic-partition from committed readers."""

    stable_offset: int
    """Last stable offset: the transaction's first record. It hides everything from here on."""
    offsets: int
    began_at: datetime | None
    """Timestamp of the record there; null if Kafka has none."""
    hanging: bool
    """Whether it has been open for longer than the brokers allow, and no coordinator knows it."""
    abort: str | None
    """The command that ends it, once it hangs."""


class WaitingPartition(Part, frozen=True, kw_only=True):
    """What waits in one topic-partition: offsets after the ledger's end that are in Kafka."""

    topic: str
    partition: int
    from_offset: int
    until_offset: int
    oldest_at: datetime | None
    """Timestamp of the first record there; null if there is none, as where only markers are, or if it can't
    be read."""
    hidden: Hidden | None


class Waiting(Part, frozen=True, kw_only=True):
    """What waits in Kafka, in offsets, so up to as many records.

    Markers and aborted records are among them.
    """

    offsets: int = 0
    oldest_seconds: float | None = None
    """Age of the oldest record: by its timestamp, or since the last complete stream began where that can't be
    right."""
    partitions: list[WaitingPartition] = msgspec.field(default_factory=list)
    unfinished: str | None = None
    """The last stream's run, if it did not run to its end."""
    before_any_stream: bool = False
    """Whether no stream has run yet: then all of it waits for the first one."""


class Limit(Part, frozen=True, kw_only=True):
    """One of the pipeline's own limits; in seconds (`lag`, `freshness`) or a share (`quarantined`)."""

    name: str
    limit: float
    found: float | None
    """Null where it was not judged."""
    shown: str
    allowed: str
    """Both in words."""

    @property
    def holds(self) -> bool:
        """Whether it is not passed."""
        return self.found is None or self.found <= self.limit


class Totals(Part, frozen=True, kw_only=True):
    """Counts over all micro-batches ever published."""

    micro_batches: int
    kept: int
    filtered: int
    quarantined: int
    gaps: int
    lost: int = 0
    unproven: int = 0


class Recheck(Part, frozen=True, kw_only=True):
    """Everything that has a finding, also where only some of the findings are listed.

    Later runs look at it until it is green.
    """

    micro_batches: list[int]
    restorable: list[int]
    """Those of the micro-batches whose entry or files were missing or altered (I5, I8): hashes show when they
    are put back."""
    receipts: list[str]
    everything: bool = False
    """Whether a finding casts doubt on all micro-batches, so that this run proved none of them."""


class History(Part, frozen=True, kw_only=True):
    """How far the files and entries of the proven micro-batches were looked at again, a few in each run."""

    checked: list[int]
    """By this run: first and last, or empty."""
    began: int
    """Where the present round stood when this run looked."""
    until: int | None
    """All up to this one were checked since `at`; null before the first whole round."""
    at: datetime | None


class Hashes(Part, frozen=True, kw_only=True):
    """SHA-256 of the documents in the scope as they were when they were checked.

    `verified.json` moves only if they still are.
    """

    entries: dict[int, str]
    """By micro-batch."""
    receipts: dict[str, str]
    """By run."""


class Report(Document, frozen=True, kw_only=True):
    """The account of one verify run, as in `reports/<run>/report.json`."""

    schema: Literal[2] = 2
    number: int
    """Drawn when the run began: of two reports the one with the higher number is the newer."""
    seen: int
    """Number of the newest run that had begun when this one had looked: only one that began later can settle
    what it found."""
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
    recheck: Recheck
    waiting: Waiting
    limits: list[Limit]
    gaps_not_checked: int
    """Of all that is published."""
    gaps_not_checked_of: dict[int, int]
    """Per micro-batch that this run looked at, where there are any."""
    """Gaps that are confirmed, and not explained: the client that reads record batches could not log in."""
    published_meanwhile: int
    """Micro-batches that were published since the run began, or are not in its scope; the next one verifies
    them."""
    history: History
    last_records: list[LastRecord]
    """Per topic-partition, the last record that was read back."""
    hashes: Hashes
    quarantine: list[Reason]
    undeclared: Undeclared | None = None
    """Null if no JSON record was looked at."""
    kept_per_minute: list[Minute]
    samples: list[Sample]
    micro_batches: list[MicroBatch]
    accepted: list[Accepted] = msgspec.field(default_factory=list)
    """All that was ever accepted."""
    settled: dict[int, int] = msgspec.field(default_factory=dict)
    """Per micro-batch of this run that was never proven whole, the number of the acceptance that lets it
    pass."""
    aged_out: list[int]
    """Those of them of which Kafka no longer holds all records: verified while it did, and their entries and
    files are what they were then."""
    ever: Totals
    events: str
    """Folder of the kept records."""
    quarantined_records: str
    """Folder of the quarantined records."""

    @property
    def broken(self) -> list[Invariant]:
        """The invariants that make the run red, the unverifiable ones included.

        The files come first: what is wrong with them explains other findings.
        """
        found = [invariant for invariant in self.invariants if invariant.state in RED]
        return sorted(found, key=lambda invariant: invariant.id != "I8")

    @property
    def is_green(self) -> bool:
        """Whether everything holds. A report whose own figures contradict a green state is not green."""
        return (
            self.state is State.GREEN and not self.broken and not any(row.difference for row in self.balance)
        )
