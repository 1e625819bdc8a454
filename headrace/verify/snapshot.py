"""What a verify run knows of a pipeline's folder, read once when it begins."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection
from functools import cached_property

from headrace.errors import LedgerError
from headrace.kafka.offsets import Offsets, TopicPartition
from headrace.ledger import verified_receipts
from headrace.ledger.checkpoint import logged
from headrace.ledger.entries import Link, entry_path, newest_number, read_link
from headrace.ledger.entry import Entry
from headrace.ledger.folder import Folder
from headrace.ledger.identity import read_identity
from headrace.ledger.progress import entry_sha256, is_of_another_checkpoint, read_verified
from headrace.ledger.receipts import Receipt, receipt_of, receipt_sha256, receipts
from headrace.verify import history
from headrace.verify.accepted import Accepted
from headrace.verify.result import Hashes
from headrace.verify.scope import Scope


class Snapshot:
    """The folder as it was when a verify run began.

    A stream may be writing meanwhile, so the order in which the world is read matters: what was verified, the
    checkpoint's commits, hashes of what is in the scope, the entries, identity.json, the receipts; then
    Kafka's topics; then the records; last, and only if offsets seem to be lost, the newest entry again. What
    is committed or verified by one look has its entry by the next.

    Args:
        folder: The pipeline's.
        scope: What the run is to check.

    Attributes:
        verified: What earlier runs have proven.
        committed: Numbers of the micro-batches that Spark has committed.
        hashes: Of what is in the scope. What changes from now on is noticed when the run is concluded.
        newest: Number of the newest entry, -1 before the first.
        again: Proven micro-batches that this run looks at once more.
        links: Entries that can be read, by number, with their hashes: those in the scope, their neighbours,
            and all that are not proven.
        unreadable: By number, why an entry can't be.
        accepted: The acceptances among them.
        identity: What identity.json says; `None` if it is missing.
        receipts: All that are not verified, and those in the scope.
    """

    def __init__(self, folder: Folder, scope: Scope) -> None:
        self.folder = folder
        self.scope = scope
        # The order matters: what claims an entry is read before the entries, so that none seems to be
        # missing.
        self.verified = read_verified(folder)
        self.committed = logged(folder.checkpoint, "commits")
        self.hashes = Hashes(
            entries={each: digest for each in scope.micro_batches if (digest := entry_sha256(folder, each))},
            receipts={run: digest for run in scope.receipts if (digest := receipt_sha256(folder, run))},
        )
        self.newest = newest_number(
            folder,
            near=max(self.verified.until, *scope.micro_batches, *logged(folder.checkpoint, "offsets"), -1),
        )
        self.again = [] if scope.whole else history.share(self.verified, set(scope.micro_batches))
        until = self.verified.until
        wanted = {
            *scope.micro_batches,
            *self.again,
            until,
            *range(until + 1, self.newest + 1),
            *self.verified.accepted,
        }
        self.links: dict[int, Link] = {}
        self.unreadable: dict[int, str] = {}
        self._read_links({each + step for each in wanted for step in (-1, 0, 1)})
        self.accepted = Accepted(self.links)
        self.identity = read_identity(folder)
        named = (receipt_of(folder, run) for run in scope.receipts)
        self.receipts = list(
            {receipt.run: receipt for receipt in (*receipts(folder), *named) if receipt}.values()
        )

    def _read_links(self, numbers: Collection[int]) -> None:
        for number in sorted(numbers):
            # The listing shows what is missing.
            if 0 <= number <= self.newest and self.folder.published(self.folder.events, number).exists():
                try:
                    self.links[number] = read_link(self.folder, number)
                except LedgerError as error:
                    self.unreadable[number] = str(error)

    @property
    def chosen(self) -> list[Entry]:
        """The entries in the scope that can be read."""
        return [self.links[number].entry for number in self.scope.micro_batches if number in self.links]

    @property
    def chosen_receipts(self) -> list[Receipt]:
        """The receipts in the scope."""
        wanted = set(self.scope.receipts)
        return [receipt for receipt in self.receipts if receipt.run in wanted]

    @property
    def looked_at(self) -> set[int]:
        """Numbers of the micro-batches that this run looks at, in full or in part."""
        return {*self.scope.micro_batches, *self.again}

    @property
    def last(self) -> Link | None:
        """The newest entry that can be read."""
        return self.links[max(self.links)] if self.links else None

    @property
    def ends(self) -> Offsets:
        """Where the ledger ends, as far as it can be read."""
        return self.last.entry.offsets if self.last else Offsets()

    @cached_property
    def proven_receipts(self) -> dict[str, str]:
        """Run → SHA-256 of each verified receipt, of this ledger.

        Read only where a verified receipt is in the scope, or one has aged out.
        """
        return {} if is_of_another_checkpoint(self.folder) else verified_receipts.journaled(self.folder)

    @cached_property
    def altered_receipts(self) -> set[str]:
        """Runs whose receipts are not what they were when they were verified."""
        return {
            run
            for run, digest in self.hashes.receipts.items()
            if self.folder.is_verified(run) and self.proven_receipts.get(run, digest) != digest
        }

    @cached_property
    def published_meanwhile(self) -> int:
        """How many micro-batches are there now that are neither proven nor in the scope."""
        newest = newest_number(self.folder, near=self.newest)
        new = set(range(self.verified.until + 1, newest + 1)) - set(self.scope.micro_batches)
        return sum(entry_path(self.folder, number).exists() for number in new)

    def published_by(self, place: TopicPartition, offset: int) -> int | None:
        """The micro-batch in the scope that published an offset."""
        ranges = self._ranges.get(place, [])
        at = bisect_right(ranges, offset, key=lambda each: each[0]) - 1
        return ranges[at][2] if at >= 0 and offset < ranges[at][1] else None

    @cached_property
    def _ranges(self) -> dict[TopicPartition, list[tuple[int, int, int]]]:
        """Per topic-partition the chosen ranges in order, each with the number of its micro-batch."""
        found: dict[TopicPartition, list[tuple[int, int, int]]] = defaultdict(list)
        for entry in self.chosen:
            for each in entry.ranges:
                found[each.place].append((each.from_offset, each.until_offset, entry.number))
        return {place: sorted(ranges) for place, ranges in found.items()}

    def published(self, numbers: Collection[int]) -> list[int]:
        """Those of some micro-batches that were published or looked at.

        What lies behind the ledger is found again as long as it is there.
        """
        return sorted(
            number for number in numbers if number <= self.newest or number in self.scope.micro_batches
        )
