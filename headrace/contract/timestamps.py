"""RFC 3339 timestamps, as the contract allows them."""

import re
from datetime import UTC, datetime, timedelta, timezone

_RFC_3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,6}))?(?:Z|([+-])(\d{2}):(\d{2}))",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WIDEST_OFFSET = timedelta(hours=18)
"""Java's, and so Spark's."""


def microseconds(text: str) -> int | None:
    """Microseconds since 1970-01-01T00:00:00Z, or `None` if the text is not a timestamp of the contract.

    Allowed are `2026-01-31T23:59:59Z` and `2026-01-31T23:59:59.999999+01:00`: upper-case T and Z, up to 6 fraction digits, offsets up
    to 18:00, no leap second, and a moment in the years 1 to 9999 both as written and in UTC.
    """
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = match.groups()[6:]
    offset = timedelta(hours=int(offset_hours or 0), minutes=int(offset_minutes or 0))
    if int(offset_minutes or 0) > 59 or offset > _WIDEST_OFFSET:  # noqa: PLR2004 - minutes of an hour
        return None
    try:
        written = datetime(
            year, month, day, hour, minute, second, int((fraction or "").ljust(6, "0")), timezone(-offset if sign == "-" else offset)
        )
        moment = written.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return (moment - _EPOCH) // timedelta(microseconds=1)
