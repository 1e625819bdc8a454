"""What a pipeline that is left on leaves behind, and whether its runs stay as quick.

A table after so many runs.

    PYTHONPATH=.:tests/headrace/verify .venv/bin/python tests/bench/left_on.py 100 1000 3000

Each run is a batch of --records records with its receipt, the opening of the ledger by a stream, a
micro-batch published by the publisher's own steps, and verify as the task does it: without Kafka, Spark and
Airflow, one after the other, in one process. Reports and receipts are kept for --keep seconds, about as many
runs as a month has at that pace. Prints per folder what is on disk, in kB and files; of the last 100 runs the
median in milliseconds, wall and CPU; and how much memory the process has had at most.
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
from pathlib import Path

from headrace.contract.retention import Retention
from ledgers import Ledger, batch
from tests.bench.history import KEPT, opened, timed

PLACES = (
    "events",
    "checkpoint",
    "reports",
    "receipts/verified",
    "receipts/verified.jsonl",
    "receipts/expired.jsonl",
    "staging",
    "verified.json",
)
LAST = 100
"""Runs over which a median is taken."""


def run(one: Ledger, number: int, size: int) -> None:
    """All that a run does."""
    one.receipt(f"scheduled__{number}", number * size, (number + 1) * size - 1)
    opened(one)
    one.publish(number, number * size, (number + 1) * size)
    for log in ("offsets", "commits"):
        (one.folder.checkpoint / log / str(number - KEPT)).unlink(missing_ok=True)  # as Spark does
    if red := one.verify():
        sys.exit(f"Run {number} is red: {red}")


def on_disk(path: Path) -> tuple[int, int]:
    """Bytes and files."""
    files = [each for each in (path, *path.rglob("*")) if each.is_file()]
    return sum(each.stat().st_size for each in files), len(files)


def table(one: Ledger, times: list[tuple[float, float]]) -> None:
    """Print what there is now."""
    wall, cpu = (statistics.median(each) for each in zip(*times[-LAST:], strict=True))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(times):,} runs: {wall:.1f} ms wall, {cpu:.1f} ms CPU per run; at most {memory:.0f} MB")
    whole = [on_disk(one.folder.root / place) for place in PLACES]
    size, count = on_disk(one.folder.root)
    rest = (size - sum(each[0] for each in whole), count - sum(each[1] for each in whole))
    for place, (size, count) in zip((*PLACES, "everything else"), (*whole, rest), strict=True):
        print(f"  {place:<26} {size / 1000:12,.1f} kB {count:8,} files")


def main() -> None:
    """Run, and print at each of the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=int, nargs="+", help="after how many runs to print")
    parser.add_argument("--records", type=int, default=4, help="in each batch")
    parser.add_argument(
        "--keep", type=float, default=10.0, help="seconds for which reports and receipts are kept"
    )
    options = parser.parse_args()
    setattr(os, "fsync", lambda _: None)  # noqa: B010  nothing here is to survive a power cut
    with tempfile.TemporaryDirectory() as base:
        records = [
            record
            for number in range(max(options.runs))
            for record in batch(f"scheduled__{number}", options.records)
        ]
        one = Ledger.made(Path(base) / "ledger", records)
        object.__setattr__(one.pipeline, "retention", Retention(reports=options.keep, receipts=options.keep))
        times: list[tuple[float, float]] = []
        for number in range(max(options.runs)):
            times.append(timed(lambda: run(one, number, options.records)))  # noqa: B023  called at once
            if number + 1 in options.runs:
                table(one, times)


if __name__ == "__main__":
    main()
