"""All invariants, in the order of their ids. A new one is a file in `checks` and a line here."""

from headrace.verify.checks.balance import BALANCE
from headrace.verify.checks.files import FILES
from headrace.verify.checks.frontier import FRONTIER
from headrace.verify.checks.keys import KEYS
from headrace.verify.checks.limits import LIMITS
from headrace.verify.checks.ranges import RANGES
from headrace.verify.checks.receipts import RECEIPTS
from headrace.verify.checks.rows import ROWS
from headrace.verify.checks.uniqueness import UNIQUENESS
from headrace.verify.checks.verdicts import VERDICTS

INVARIANTS = (RECEIPTS, UNIQUENESS, KEYS, ROWS, RANGES, BALANCE, VERDICTS, FILES, FRONTIER, LIMITS)

ABOUT_PUBLISHED = frozenset(each.id for each in INVARIANTS if each.is_about_published)
"""Ids of those that cast doubt on what is published, if they do not hold."""
