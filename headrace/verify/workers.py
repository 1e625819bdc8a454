"""Processes that prove parts of a large micro-batch, so that verify uses more than one core.

Each reads its share of a topic-partition's offsets itself, judges the records, and compares the rows. All
that it says is whether they are as they should be, and what it counted. Where they are not, nothing of it is
taken: the micro-batch is judged in the verify process (`judging.py`), which says what is wrong.

A worker runs `main`. It reads a pickled `Part` from its standard input, and writes a
pickled `Proven` to its standard output, again and again.
"""

import gc
import itertools
import os
import pickle
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self, cast

from headrace.contract.verdicts import Verdict
from headrace.kafka.client import Kafka
from headrace.kafka.cluster import Block, Cluster
from headrace.kafka.offsets import OffsetRange, gaps_between
from headrace.ledger.entry import Entry
from headrace.ledger.folder import Folder
from headrace.ledger.progress import LastRecord
from headrace.verify import engine
from headrace.verify.batches import OfBatch, of_batches
from headrace.verify.findings import Findings
from headrace.verify.judge import Judge
from headrace.verify.records import PublishedRows
from headrace.verify.undeclared import Undeclared

FEWEST = 100_000
"""Offsets of a topic-partition that are worth dividing; a worker takes half a second to start."""
MOST = 4
"""Workers, at most: each takes a quarter of a gigabyte."""
PROGRAM = f"from {__name__} import main; main()"
MEMORY = "256MB"
"""Of a worker's database; where rows do not fit, the part is not proven."""


@dataclass(frozen=True)
class Part:
    """What a worker is asked: a span of one topic-partition of a micro-batch, all of which can be read."""

    root: Path
    """The pipeline's folder."""
    entry: Entry
    span: OffsetRange
    config: Mapping[str, Any]
    """librdkafka's settings."""
    sample: Undeclared


@dataclass
class Proven:
    """What a worker found of a part, which is as it should be."""

    span: OffsetRange
    sample: Undeclared
    records: int = 0
    judged: Counter[Verdict] = field(default_factory=Counter)
    gaps: list[OffsetRange] = field(default_factory=list)
    of_batches: list[OfBatch] = field(default_factory=list)
    last: LastRecord | None = None


class Workers:
    """The workers of a verify run; they start when they are needed, and end with the block.

    Args:
        folder: The pipeline's.
        kafka: The cluster; of a test double nothing is divided.
    """

    def __init__(self, folder: Folder, kafka: Cluster) -> None:
        self.folder = folder
        self.kafka = kafka
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.count = min(cores, MOST) if isinstance(kafka, Kafka) else 1
        self._threads = ThreadPoolExecutor(self.count)
        self._of_thread = threading.local()
        self._all: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._all:
            worker.kill()
            worker.communicate()
        self._threads.shutdown()

    def prove(self, entry: Entry, readable: OffsetRange, sample: Undeclared) -> list[Proven] | None:
        """What the parts of a range hold, in order, if all are as they should be; `None` if they are too few.

        Args:
            sample: Another one like it is taken of each part.
        """
        if self.count == 1 or len(readable) < FEWEST or not isinstance(self.kafka, Kafka):
            return None
        parts = [
            Part(self.folder.root, entry, span, self.kafka.config, sample.another())
            for span in _divided(readable, self.count)
        ]
        asked: list[Future[Proven | None]] = [self._threads.submit(self._ask, part) for part in parts]
        found = [each.result() for each in asked]
        return [each for each in found if each] if all(found) else None

    def _ask(self, part: Part) -> Proven | None:
        """Let the thread's worker prove a part; one that fails ends, and another takes its place."""
        worker: subprocess.Popen[bytes] | None = getattr(self._of_thread, "worker", None)
        if worker is None:
            worker = self._of_thread.worker = self._start()
        try:
            pickle.dump(part, cast(IO[bytes], worker.stdin))
            cast(IO[bytes], worker.stdin).flush()
            found = pickle.load(cast(IO[bytes], worker.stdout))  # noqa: S301, of a process of ours
        except (OSError, EOFError, pickle.UnpicklingError):
            worker.kill()
            self._of_thread.worker = None
            return None
        return found if isinstance(found, Proven) else None

    def _start(self) -> "subprocess.Popen[bytes]":
        worker = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._all.append(worker)
        return worker


def _divided(readable: OffsetRange, count: int) -> Iterator[OffsetRange]:
    ends = [readable.from_offset + len(readable) * number // count for number in range(count + 1)]
    return (OffsetRange(*readable.place, *each) for each in itertools.pairwise(ends))


def spans(readable: OffsetRange, blocks: Iterable[Block]) -> Iterator[tuple[Block, OffsetRange]]:
    """The blocks of a range, each with the span of offsets whose records it holds.

    The spans join to the range.
    """
    at = readable.from_offset
    for block in blocks:
        span = OffsetRange(*readable.place, at, block.offsets[-1] + 1)
        yield block, span
        at = span.until_offset
    if at < readable.until_offset:  # where a gap ends the range
        yield Block.empty(readable.place), OffsetRange(*readable.place, at, readable.until_offset)


class Prover:
    """Proves parts of one micro-batch."""

    def __init__(self, root: Path, entry: Entry) -> None:
        self.root, self.entry = root, entry
        self._findings = Findings()
        self._judge = Judge(entry.contract, engine.connect(MEMORY))
        self._rows = PublishedRows(
            Folder(root), entry, engine.connect(MEMORY), self._judge, self._findings, self._findings
        )

    def prove(self, part: Part) -> Proven | None:
        """Read a part and compare it; `None` unless all of it is as it should be."""
        rows, proven = self._rows, Proven(part.span, part.sample)
        rows.judged.clear()
        self._judge.sample = part.sample
        for block, span in spans(part.span, Kafka(part.config).read(part.span)):
            rows.compare(block, span)
            if self._findings.any or not rows.readable:
                return None
            proven.records += len(block.offsets)
            proven.gaps += gaps_between(span, block.offsets)
            proven.of_batches += of_batches(block)
            if block.offsets:
                proven.last = LastRecord.of(block)
        for (_, verdict), count in rows.judged.items():
            proven.judged[verdict] += count
        return proven


def main() -> None:
    """Prove what is asked for until there is no more."""
    gc.disable()  # blocks hold tens of thousands of objects, and none of them refers to itself
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else may write there
    prover = None
    with suppress(EOFError):
        while True:
            part = pickle.load(sys.stdin.buffer)  # noqa: S301, of the process that started this one
            found = None
            with suppress(Exception):  # it is found again, and reported, by who judges alone
                if prover is None or (prover.root, prover.entry) != (part.root, part.entry):
                    prover = Prover(part.root, part.entry)
                found = prover.prove(part)
            pickle.dump(found, answers)
            answers.flush()
