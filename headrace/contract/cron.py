"""Schedules: the five fields of cron, in UTC.

Airflow's own parser takes 0.1 s to import, too much for what each DAG file loads.
"""

import re

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day", 1, 31, []),
    ("month", 1, 12, ["", *_MONTHS]),
    ("weekday", 0, 7, _WEEKDAYS),
)
_PART = re.compile(
    r"(?:\*|(?P<low>[0-9]{1,2}|[a-z]{3})(?:-(?P<high>[0-9]{1,2}|[a-z]{3}))?)(?:/(?P<step>[0-9]{1,2}))?",
    re.ASCII,
)


def cron_problem(schedule: str) -> str | None:
    """What is wrong with a schedule, or `None`.

    In each field `*`, numbers or names, ranges, steps, and lists of these.
    """
    parts = schedule.split()
    if len(parts) != len(_FIELDS):
        return f"it has {len(parts)} fields instead of {len(_FIELDS)}"
    for text, (name, lowest, highest, names) in zip(parts, _FIELDS, strict=True):
        for part in text.lower().split(","):
            if not _fits(part, lowest, highest, names):
                return f"its {name} {text!r} is not understood; use *, {lowest} to {highest}, ranges that rise, steps as in */5 or 0-30/5, and lists of these"
    return None


def _fits(part: str, lowest: int, highest: int, names: list[str]) -> bool:
    match = _PART.fullmatch(part)
    if match is None:
        return False
    ends = [
        names.index(end) if end in names else int(end) if end.isdecimal() else -1
        for end in match.group("low", "high")
        if end
    ]
    step = match["step"]
    # A step needs a range to go through: `5/15` means different things to different crons.
    steps = step is None or (0 < int(step) <= highest and len(ends) != 1)
    return steps and ends == sorted(ends) and all(lowest <= end <= highest for end in ends)
