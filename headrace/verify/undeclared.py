"""Names of JSON fields that records have and their contract does not declare, from a sample."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice, repeat
from typing import Any

from headrace.contract.formats import of_contract
from headrace.contract.verdicts import Contract
from headrace.formats.decoding import Decoded, decoder
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
        every = max(-(-offsets // SAMPLE), 1)
        self._turns = cycle([True, *[False] * (every - 1)])
        self._records = 0
        self._names: Counter[str] = Counter()

    def decoders(self, contract: Contract) -> Iterator[Callable[[bytes | None], Decoded]]:
        """For each record that follows the function that decodes it.

        That of a record in the sample notes the names in it as well.
        """
        plain = decoder(contract)
        if not of_contract(contract.format).HAS_MEMBERS:
            yield from repeat(plain)
        noting = decoder(contract, partial(self._note, frozenset(contract.columns)))
        for is_in_sample in self._turns:
            self._records += is_in_sample
            yield noting if is_in_sample else plain

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
