"""The page with what the benchmark measured, from `benchmarks.md`."""

import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from string import Template
from xml.etree import ElementTree as ET

import psutil

from headrace.text import plural
from tests.bench.bounds import BOUNDS, Measured
from tests.bench.measure import Took
from tests.bench.peers import PROGRAMS
from tests.bench.records import Data

TEMPLATE = Path(__file__).parent / "benchmarks.md"
PACKAGES = ("pyspark", "apache-airflow", "confluent-kafka", "msgspec", "pyarrow", "orjson", "duckdb")


def page(topics: Mapping[str, Data], measured: Measured, once: Measured, rounds: int) -> str:
    """The page, filled in.

    Args:
        topics: by name, as the page calls them
        measured: in rounds
        once: for several sizes
    """
    whole = Measured({**once.found, **measured.found})
    with_flink = "flink" in measured.found
    bounds = []
    for bound in BOUNDS:
        sign = "≥" if bound.is_speed else "≤"
        row = [bound.what, bound.against, bound.said(whole)]
        bounds.append(_row(*row, f"{sign} {bound.must} ×", f"{sign} {bound.aim} ×"))
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)]
    versions += [f"Flink {_flink()}"] if with_flink else []
    return Template(TEMPLATE.read_text()).substitute(
        command="make bench FLINK=1" if with_flink else "make bench",
        date=f"{datetime.now(UTC):%-d %B %Y}",
        rounds=plural(rounds, "round"),
        cores=psutil.cpu_count(),
        memory=f"{psutil.virtual_memory().total / 2**30:.0f}",
        versions=", ".join(versions),
        **{name: f"{topic.count:,}" for name, topic in topics.items()},
        bounds="\n".join(bounds),
        figures="\n".join(_figure(name, found) for name, found in measured.found.items()),
        sizes="\n".join(_figure(name, found) for name, found in once.found.items()),
    )


def _figure(name: str, found: Sequence[Took]) -> str:
    seconds = [took.seconds for took in found]
    cpu, memory = (statistics.median(getattr(took, what) for took in found) for what in ("cpu", "memory"))
    middle = statistics.median(seconds)
    places = 1 if middle >= 1 else 3
    spread = f" ({min(seconds):.{places}f} to {max(seconds):.{places}f})" if len(seconds) > 1 else ""
    used = f"{cpu:.{places}f}" if cpu else ""
    return _row(name, f"{middle:.{places}f}{spread}", used, f"{memory:,.0f} MB" if memory else "")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _flink() -> str:
    modules = ET.parse(PROGRAMS / "peers.xml").iter("dependency")  # noqa: S314, a file of ours
    return next(each.attrib["rev"] for each in modules if each.attrib["name"] == "flink-clients")
