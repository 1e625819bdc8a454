"""Kept records over time, as bars on a linear time axis."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from headrace.text import utc
from headrace.verify.result import Minute

MAX_BARS = 180
"""More than this many places for bars, and they get too thin to see."""

MINUTES_PER_HOUR = 60
MINUTES_PER_DAY = 24 * MINUTES_PER_HOUR
MONTHS_PER_YEAR = 12


@dataclass(frozen=True)
class Unit:
    """A width of bars: which place on the axis a moment has, and how the bar is called."""

    name: str
    place: Callable[[datetime], int]
    label: str


@dataclass(frozen=True)
class Bar:
    """One bar; `left`, `width` and `height` in per cent of the chart."""

    label: str
    kept: int
    left: float
    width: float
    height: float


@dataclass(frozen=True)
class Chart:
    """Bars from the first to the last moment that has any."""

    unit: str
    bars: list[Bar]
    highest: int
    first: str
    last: str


UNITS = [
    Unit(
        "minute",
        lambda at: at.toordinal() * MINUTES_PER_DAY + at.hour * MINUTES_PER_HOUR + at.minute,
        "%Y-%m-%d %H:%M",
    ),
    Unit("hour", lambda at: at.toordinal() * 24 + at.hour, "%Y-%m-%d %H:00"),
    Unit("day", lambda at: at.toordinal(), "%Y-%m-%d"),
    Unit("month", lambda at: at.year * MONTHS_PER_YEAR + at.month, "%Y-%m"),
    Unit("year", lambda at: at.year, "%Y"),
]


def chart(minutes: Iterable[Minute]) -> Chart | None:
    """The bars of the finest unit that still leaves them wide enough to see; `None` if nothing was kept."""
    kept = [(utc(minute.minute), minute.kept) for minute in minutes if minute.kept > 0]
    if not kept:
        return None
    earliest, latest = min(at for at, _ in kept), max(at for at, _ in kept)
    unit = next((unit for unit in UNITS if _places(unit, earliest, latest) <= MAX_BARS), UNITS[-1])
    places, first = _places(unit, earliest, latest), unit.place(earliest)
    heights: Counter[int] = Counter()
    labels: dict[int, str] = {}
    for at, count in kept:
        place = unit.place(at) - first
        heights[place] += count
        labels[place] = at.strftime(unit.label)
    highest = max(heights.values())
    bars = [
        Bar(labels[place], height, 100 * place / places, 100 / places, 100 * height / highest)
        for place, height in sorted(heights.items())
    ]
    return Chart(unit.name, bars, highest, earliest.strftime(unit.label), latest.strftime(unit.label))


def _places(unit: Unit, earliest: datetime, latest: datetime) -> int:
    return unit.place(latest) - unit.place(earliest) + 1
