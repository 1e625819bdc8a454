"""Durations as files and environment variables have them: a number and a unit."""

import re

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
"""Units of a duration, in seconds; each may have an s at its end."""

_DURATION = re.compile(
    rf"(?P<number>[0-9]{{1,9}}(?:[.][0-9]{{1,9}})?) *(?P<unit>{'|'.join(UNITS)})s?", re.ASCII
)


def seconds(text: str) -> float | None:
    """A duration such as "90 minutes" or "1.5 days" in seconds, or `None` if it is none."""
    match = _DURATION.fullmatch(text)
    return float(match["number"]) * UNITS[match["unit"]] if match and float(match["number"]) > 0 else None


def written(length: float) -> str:
    """A duration as a file would have it: in the largest unit in which it is a whole number."""
    unit, one = max(
        ((unit, one) for unit, one in UNITS.items() if length % one == 0),
        key=lambda each: each[1],
        default=("second", 1),
    )
    return f"{length / one:g} {unit}{'s' * (length != one)}"
