"""The bounded share of the history that each run looks at again.

Names, sizes and hashes, longest unchecked first.
"""

from datetime import datetime

from headrace.ledger.progress import History, Verified
from headrace.verify import result
from headrace.verify.scope import Scope

SHARE = 32
"""Micro-batches that a run looks at again. At every quarter hour, a history of 35,000 is seen once in eleven
days."""


def share(verified: Verified, scope: set[int]) -> list[int]:
    """The proven micro-batches that come next, except the ones that the run checks anyway."""
    last = verified.until
    count = min(SHARE, last + 1)
    first = verified.history.next if verified.history.next <= last else 0
    return [number for place in range(first, first + count) if (number := place % (last + 1)) not in scope]


def account(verified: Verified, checked: list[int], scope: Scope, began: datetime) -> result.History:
    """What the report says of it."""
    at = verified.history.next
    after = advanced(verified, scope, began, at)
    return result.History(
        checked=[checked[0], checked[-1]] if checked else [], began=at, until=after.until, at=after.at
    )


def advanced(verified: Verified, scope: Scope, began: datetime, looked_from: int) -> History:
    """How far the rounds have come after a run that began then, and looked at its share from there.

    Of two runs at once both look at the same share: it counts once.
    """
    known, last = verified.history, verified.until
    if scope.whole:
        return (
            known
            if known.at and known.at > began
            else History(until=max(scope.micro_batches, default=None), at=began)
        )
    if last < 0 or not scope.updates_verified or looked_from != known.next:
        return known
    first = known.next if known.next <= last else 0
    round_began = began if first == 0 or known.began_at is None else known.began_at
    if first + SHARE > last:  # the round ends; what the share takes beyond it belongs to the next one
        return History(
            next=max(first + min(SHARE, last + 1) - (last + 1), 0), began_at=began, until=last, at=round_began
        )
    return History(next=first + SHARE, began_at=round_began, until=known.until, at=known.at)
