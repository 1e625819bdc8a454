"""What of a stored report says which run it covers, decoded without the rest of it."""

import msgspec

from headrace.verify.invariants import ABOUT_WHAT_COMES
from headrace.verify.result import LOOKED_AT, InvariantState, ReceiptState


class Account(msgspec.Struct):
    """What of a receipt's account in a `report.json` is needed here."""

    run: str
    state: ReceiptState


class Published(msgspec.Struct):
    """What of a micro-batch in a `report.json` is needed here."""

    id: int


class InvariantOutcome(msgspec.Struct):
    """What of an invariant's outcome is needed here."""

    id: str
    state: InvariantState


class Named(msgspec.Struct):
    """What a report asks later runs to check again."""

    micro_batches: list[int]
    receipts: list[str]
    everything: bool


class Hashes(msgspec.Struct):
    """Of the entries that a report is about."""

    entries: dict[int, str]


class Ever(msgspec.Struct):
    """How long the ledger was by a report."""

    micro_batches: int


class Cover(msgspec.Struct):
    """What of a `report.json` says which runs it covers, and how; the rest is not decoded."""

    number: int
    seen: int
    run: str
    hashes: Hashes
    ever: Ever
    receipts: list[Account]
    micro_batches: list[Published]
    aged_out: list[int]
    invariants: list[InvariantOutcome]
    recheck: Named

    def covers(self, item: int | str) -> bool:
        """Whether it looked at a micro-batch (by number) or a receipt (by run), or names it.

        Also if it is red and finds that the ledger ends before it.
        """
        return (
            self.names(item)
            or item in self.items
            or (isinstance(item, int) and self.doubts and item >= self.ever.micro_batches)
        )

    def names(self, item: int | str) -> bool:
        """Whether it asks later runs to check a micro-batch or a receipt again."""
        return item in (self.recheck.micro_batches if isinstance(item, int) else self.recheck.receipts)

    @property
    def looked(self) -> tuple[int, bool, int]:
        """When it looked: of two reports about the same, the one that looked last counts.

        Only a run that began later settles a red.
        """
        return (self.seen if self.doubts else self.number, self.doubts, self.number)

    @property
    def items(self) -> set[int | str]:
        """The micro-batches and receipts that it looked at; a receipt that waits for a stream is none."""
        return {
            *(each.id for each in self.micro_batches),
            *(each.run for each in self.receipts if each.state in LOOKED_AT),
        }

    @property
    def left_something_out(self) -> bool:
        """Whether it could not check all of it."""
        return any(each.state is InvariantState.NOT_CHECKED for each in self.invariants)

    @property
    def doubts(self) -> bool:
        """Whether it is red about what is published."""
        red = {InvariantState.BROKEN, InvariantState.UNVERIFIABLE}
        return any(each.state in red and each.id not in ABOUT_WHAT_COMES for each in self.invariants)
