"""How long a stream's start and verify take with a short and a long history.

    PYTHONPATH=.:tests/headrace/verify .venv/bin/python tests/bench/history.py 35 35000

Makes a ledger for each number of micro-batches, without Kafka and Spark (--records records and small files
each), then measures, in turn, one round after the other: the opening of the ledger by a stream, a run's
verify of one new micro-batch, and, given --whole, verify of everything. Given --receipts, each micro-batch is
a batch of the demo producer, with a verified receipt, and a stream reads those that are not. Prints the
medians in milliseconds, wall and CPU.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from headrace import documents
from headrace.ledger import verified_receipts
from headrace.ledger.entries import read_link
from headrace.ledger.opening import open_ledger
from headrace.ledger.progress import Mark, Verified, completed_receipts
from headrace.ledger.receipts import Receipt, receipt_sha256
from ledgers import Ledger, batch, others

UNSYNCED = patch.object(os, "fsync", lambda _: None)
"""Nothing here is to survive a power cut."""
KEPT = 100
"""Micro-batches that Spark remembers in its logs."""


def made(base: Path, micro_batches: int, rounds: int, size: int, *, with_receipts: bool) -> Ledger:
    """A ledger that is verified, with room for a new micro-batch in each round."""
    count = micro_batches + rounds
    records = others(10) * (count * size // 10 + 1)
    if with_receipts:
        records = [record for number in range(count) for record in batch(f"run-{number}", size)]
    one = Ledger.made(base, records, [size * (number + 1) for number in range(micro_batches)])
    for log in ("offsets", "commits"):
        for number in range(micro_batches - KEPT):  # as Spark does
            (one.folder.checkpoint / log / str(number)).unlink()
    mark = Mark(number=micro_batches - 1, sha256=read_link(one.folder, micro_batches - 1).sha256, proven_by=1)
    # To verify each would take a quarter of an hour.
    documents.write(one.folder.verified, Verified(checkpoint="c1", mark=mark))
    if with_receipts:
        add_verified_receipts(one, micro_batches, size)
    return one


def add_verified_receipts(one: Ledger, micro_batches: int, size: int) -> None:
    """What verify would leave behind, written at once."""
    proven = {}
    for number in range(micro_batches):
        receipt = one.made_receipt(f"run-{number}", number * size, (number + 1) * size - 1)
        documents.write(one.folder.unverified_receipt(receipt.run), receipt)
        proven[receipt.run] = receipt_sha256(one.folder, receipt.run) or ""
    assert verified_receipts.add(one.folder, proven)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU milliseconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


def per_micro_batch(times: tuple[float, float], count: int) -> tuple[float, float]:
    """Both times divided."""
    return times[0] / count, times[1] / count


def opened(one: Ledger) -> list[Receipt]:
    """What a stream does when it starts."""
    open_ledger(one.folder, one.pipeline, one.kafka)
    return completed_receipts(one.folder)


def rounds(
    one: Ledger, count: int, size: int, *, whole: bool, with_receipts: bool
) -> dict[str, list[tuple[float, float]]]:
    """Measure each kind of work."""
    found: dict[str, list[tuple[float, float]]] = {"stream start": [], "a run's verify": []}
    for _ in range(count):
        number = len(one.folder.micro_batches())
        found["stream start"].append(timed(lambda: opened(one)))
        one.publish(number, number * size, (number + 1) * size)
        if with_receipts:
            one.receipt(f"run-{number}", number * size, (number + 1) * size - 1)
        found["a run's verify"].append(timed(one.verify))
    if whole:
        found["verify of everything, per micro-batch"] = [
            per_micro_batch(timed(lambda: one.verify(one.everything)), len(one.folder.micro_batches()))
        ]
    return found


def measure(count: int, times: int) -> dict[str, list[tuple[float, float]]]:
    """Measure a stream's start and a run's verify after so many micro-batches; milliseconds, wall and CPU."""
    with tempfile.TemporaryDirectory() as base, UNSYNCED:
        one = made(Path(base), count, times, 2, with_receipts=False)
        return rounds(one, times, 2, whole=False, with_receipts=False)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("micro_batches", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--records", type=int, default=2, help="in each micro-batch")
    parser.add_argument("--receipts", action="store_true", help="give each micro-batch a receipt")
    parser.add_argument("--whole", action="store_true", help="also verify everything, once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base, UNSYNCED:
        ledgers = {
            count: made(
                Path(base) / str(count),
                count,
                options.rounds,
                options.records,
                with_receipts=options.receipts,
            )
            for count in options.micro_batches
        }
        for count, one in ledgers.items():
            for name, times in rounds(
                one, options.rounds, options.records, whole=options.whole, with_receipts=options.receipts
            ).items():
                wall, cpu = (statistics.median(each) for each in zip(*times, strict=True))
                print(f"{count:>7,} micro-batches  {name:<40} {wall:8.1f} ms wall {cpu:8.1f} ms CPU")


if __name__ == "__main__":
    main()
