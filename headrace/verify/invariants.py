"""All invariants, in the order of their ids. A new one is a file in `checks`, and two lines here."""

from collections.abc import Callable

from headrace.verify.checks.balance import BALANCE
from headrace.verify.checks.files import FILES, check_files, check_names, check_readable
from headrace.verify.checks.frontier import FRONTIER
from headrace.verify.checks.keys import KEYS
from headrace.verify.checks.limits import LIMITS
from headrace.verify.checks.ranges import RANGES, check_chain, check_proven
from headrace.verify.checks.receipts import RECEIPTS, check_receipts
from headrace.verify.checks.rows import ROWS
from headrace.verify.checks.uniqueness import UNIQUENESS
from headrace.verify.checks.verdicts import VERDICTS
from headrace.verify.findings import Findings
from headrace.verify.snapshot import Snapshot

INVARIANTS = (RECEIPTS, UNIQUENESS, KEYS, ROWS, RANGES, BALANCE, VERDICTS, FILES, FRONTIER, LIMITS)

ABOUT_WHAT_COMES = frozenset(each.id for each in INVARIANTS if not each.is_about_published)
"""Ids of the invariants whose findings cast no doubt on what is published."""

ON_DISK: tuple[Callable[[Snapshot, Findings], None], ...] = (
    check_readable,
    check_receipts,
    check_proven,
    check_names,
    check_chain,
    check_files,
)
"""Checks that need nothing but the pipeline's folder, in the order in which they run."""
