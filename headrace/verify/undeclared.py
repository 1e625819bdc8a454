"""Names of JSON fields that records have and their contract does not declare, from a sample."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

from headrace.contract.formats import of_contract
from headrace.contract.verdicts import Contract
from headrace.formats.decoding import decoder
from headrace.text import shortened
from headrace.verify import result

SAMPLE = 10_000
"""Records, at most."""
MAX_NAMES, MAX_NAME = 20, 60
"""What a report lists. Names come from records, so there may be any number of them, of any length."""
MAX_HELD = 1_000
"""Different names that are counted, and those of one record: enough to find the usual ones."""


class Undeclared:
    """The sample of a verify run: every n-th of its records, so that each topic and partition has its share.

    Args:
        offsets: how many the run covers
    """

    def __init__(self, offsets: int) -> None:
        self._every = max(-(-offsets // SAMPLE), 1)
        self._passed = 0
        self._records = 0
        self._names: Counter[str] = Counter()

    def take(self, contract: Contract, values: Sequence[bytes | None]) -> None:
        """Take the share of values that are judged next by a contract, and note the names in them."""
        if not of_contract(contract.format).HAS_MEMBERS:
            return
        read = decoder(contract, partial(self._note, frozenset(contract.columns)))
        for value in values[-self._passed % self._every :: self._every]:
            self._records += 1
            read(value)
        self._passed += len(values)

    def another(self, passed: int) -> "Undeclared":
        """One that takes the same share, has taken nothing yet, and begins behind so many records."""
        one = Undeclared(0)
        one._every, one._passed = self._every, passed
        return one

    def add(self, other: "Undeclared") -> None:
        """Add what was noted of another sample."""
        self._records += other._records  # noqa: SLF001, one of its own
        for name, count in other._names.items():  # noqa: SLF001
            if name in self._names or len(self._names) < MAX_HELD:
                self._names[name] += count

    def _note(self, declared: frozenset[str], document: dict[str, Any]) -> None:
        for name in islice(document.keys() - declared, MAX_HELD):
            short = shortened(name, MAX_NAME)
            if short in self._names or len(self._names) < MAX_HELD:
                self._names[short] += 1

    @property
    def account(self) -> result.Undeclared | None:
        """What the report says; `None` if no JSON record was looked at."""
        names = sorted(self._names, key=lambda name: (-self._names[name], name))
        return (
            result.Undeclared(sample=self._records, fields=names[:MAX_NAMES], more=len(names) > MAX_NAMES)
            if self._records
            else None
        )
