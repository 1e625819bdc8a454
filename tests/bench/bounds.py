"""What the benchmark holds Headrace to: ratios of what was measured, and how far each may go."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.bench.measure import Took

BEFORE = "fb5f9b9a204903dc333c5e32251aa1c869af9711"
"""The commit that is compared with; in a clone without it that is not measured."""
SHORT_HISTORY, LONG_HISTORY = 35, 35_000
"""Micro-batches that a run has behind it."""
PAIR, TASKS = "pair of DAGs, trigger to verified", "pair of DAGs, sum of its tasks"
"""Names of what is measured in Airflow."""


@dataclass
class Measured:
    """What each program and job took, each time that it ran."""

    found: dict[str, list[Took]] = field(default_factory=dict)

    def keep(self, name: str, took: Took) -> None:
        """Remember a measurement."""
        self.found.setdefault(name, []).append(took)


Figure: TypeAlias = Callable[[Measured], float | None]


@dataclass(frozen=True)
class Bound:
    """One line of the table: a ratio, and how far it may go.

    Attributes:
        is_speed: The ratio is theirs ÷ ours, and has to be `must` at least; otherwise ours ÷ theirs, at most.
        is_optional: It may be left unmeasured.
        holds_back: Where the time goes if the bound is missed, by a profile.
    """

    what: str
    against: str
    ours: Figure
    theirs: Figure
    must: float
    aim: float
    is_speed: bool = False
    is_optional: bool = False
    holds_back: str = ""

    def said(self, measured: Measured) -> str:
        """What the page says of it."""
        ratio = self.ratio(measured)
        if ratio is None:
            return "not measured"
        if not self.is_missed(measured):
            return f"{ratio:.2f} ×"
        return f"**{ratio:.2f} ×, missed**" + (f": {self.holds_back}" if self.holds_back else "")

    def is_missed(self, measured: Measured) -> bool:
        """Whether it goes too far, or was to be measured and was not."""
        ratio = self.ratio(measured)
        if ratio is None:
            return not self.is_optional
        return ratio < self.must if self.is_speed else ratio > self.must

    def ratio(self, measured: Measured) -> float | None:
        """`None` if either was not measured."""
        ours, theirs = self.ours(measured), self.theirs(measured)
        if not ours or not theirs:
            return None
        return theirs / ours if self.is_speed else ours / theirs


def seconds(*names: str) -> Figure:
    """The sum of medians."""
    return lambda measured: _sum(measured, "seconds", names)


def cpu(*names: str) -> Figure:
    """The sum of medians."""
    return lambda measured: _sum(measured, "cpu", names)


def memory(*names: str) -> Figure:
    """The sum of medians."""
    return lambda measured: _sum(measured, "memory", names)


def _after(count: int) -> Figure:
    return seconds(*(f"{name} after {count:,} micro-batches" for name in ("stream start", "a run's verify")))


def _sum(measured: Measured, what: str, names: tuple[str, ...]) -> float | None:
    if not all(name in measured.found for name in names):
        return None
    found = [[getattr(took, what) for took in measured.found[name]] for name in names]
    return float(sum(map(statistics.median, found)))


WARM = seconds("streams: orders, warm")
CONSUMER = seconds("pyarrow consumer")
WHOLE, VERIFY = seconds("stream"), seconds("verify")

BOUNDS = [
    Bound("stream, later job of a process: speed", "Flink's later job", WARM, seconds("flink jobs: orders, warm"), 1.2, 1.6, is_speed=True, is_optional=True),
    Bound("stream, first job of a process: speed", "Flink's first job", seconds("stream: orders, first"), seconds("flink: orders, first"), 1.0, 1.15, is_speed=True, is_optional=True),
    Bound("stream, whole process: speed", "Flink's whole process", WHOLE, seconds("flink"), 0.95, 1.1, is_speed=True, is_optional=True),
    Bound("stream, later job: speed", "pyarrow consumer", WARM, CONSUMER, 0.55, 0.7, is_speed=True),
    Bound("stream, later job: CPU", "plain Spark, later job", cpu("streams: orders, warm"), cpu("plain: orders, warm"), 0.6, 0.5),
    Bound("stream, later job, 10 % malformed: time", "none malformed", seconds("streams: malformed, warm"), WARM, 1.5, 1.2),
    Bound("verify: time", "the stream's whole process", VERIFY, WHOLE, 0.45, 0.35),
    Bound("verify of text: time", "the stream's whole process", seconds("verify of texts"), seconds("stream of texts"), 0.45, 0.35),
    Bound("verify: time", "pyarrow consumer", VERIFY, CONSUMER, 2.0, 1.5),
    Bound("verify: memory", f"at {BEFORE[:7]}", memory("verify"), memory("verify before"), 1.5, 1.0, is_optional=True),
    Bound("stream of 200 fields, later job: speed", "plain Spark, later job", seconds("streams: wide, warm"), seconds("plain wide: wide, warm"), 1.0, 1.2, is_speed=True),
    Bound("stream and verify of text: time", f"at {BEFORE[:7]}", seconds("stream of texts", "verify of texts"), seconds("stream of texts before", "verify of texts before"), 0.5, 0.35, is_optional=True),
    Bound("stream of 10,000 records, whole process: time", "`spark-submit --packages`", seconds("stream of small"), seconds("plain small"), 0.4, 0.3),
    Bound("`produce_batch`: speed", "ProducerPerformance", seconds("produce_batch"), seconds("ProducerPerformance"), 0.8, 1.2, is_speed=True),
    Bound("pair of DAGs, trigger to verified: time", "sum of its tasks", seconds(PAIR), seconds(TASKS), 1.15, 1.05),
    Bound("stream on `local[2]`, later job: speed", "on `local[1]`", WARM, seconds("streams on local[1]: orders, warm"), 1.6, 1.85, is_speed=True),
    Bound(f"stream start and a run's verify, {LONG_HISTORY:,} micro-batches behind: time", f"{SHORT_HISTORY} behind", _after(LONG_HISTORY), _after(SHORT_HISTORY), 1.2, 1.05),
    Bound("stream of 20 M records: memory", "of 10,000", memory("stream of twice as many"), memory("stream of small"), 1.2, 1.05),
]  # fmt: skip
