"""How long a pipeline keeps its reports and verified receipts, under `[retention]`.

Published records are never removed.
"""

from dataclasses import dataclass

from headrace.contract.limits import duration
from headrace.contract.reading import Table
from headrace.durations import UNITS, written

DEFAULT = 30.0 * UNITS["day"]


@dataclass(frozen=True)
class Retention:
    """How long is kept what nothing needs any more, in seconds.

    Attributes:
        reports: A verify run's report, from when it was written.
        receipts: The receipt of a batch, from when it was verified.
    """

    reports: float = DEFAULT
    receipts: float = DEFAULT

    def __str__(self) -> str:
        """As in the file."""
        return f"reports {written(self.reports)}, receipts {written(self.receipts)}"


def retention(file: Table) -> Retention:
    """Read the section `[retention]` of a pipeline file."""
    table = file.table("retention")
    if table is None:
        return Retention()
    found = Retention(
        reports=duration(table, "reports") or DEFAULT, receipts=duration(table, "receipts") or DEFAULT
    )
    table.refuse_others()
    return found
