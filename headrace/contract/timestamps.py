"""RFC 3339 timestamps, as the contract allows them."""

import re
from datetime import UTC, datetime, timedelta

_RFC_3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:(?:0\d|1[0-7]):[0-5]\d|18:00))",
    re.ASCII,
)
"""Offsets as far as Java's, and so Spark's, go."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST, _LAST = (
    (moment - _EPOCH) // _MICROSECOND
    for moment in (
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    )
)


def microseconds(text: str) -> int | None:
    """Microseconds since 1970-01-01T00:00:00Z, or `None` if the text is not a timestamp of the contract.

    Allowed are `2026-01-31T23:59:59Z` and `2026-01-31T23:59:59.999999+01:00`: upper-case T and Z, up to 6
    fraction digits, offsets up to 18:00, no leap second, and a moment in the years 1 to 9999 both as written
    and in UTC.
    """
    if not _RFC_3339.fullmatch(text):
        return None
    try:
        moment = (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    except ValueError:  # no such day
        return None
    return moment if _FIRST <= moment <= _LAST else None
