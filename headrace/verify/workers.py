"""Processes that prove parts of a large micro-batch, so that verify uses more than one core.

Each reads its share of a topic-partition's offsets, judges the records and compares them with the rows. It
answers what it counted, or why it could not prove its share. Then the verify process judges the whole range
itself (`judging.py`), and says what is wrong.

A worker runs `main`: again and again it reads a pickled `Part` from its standard input, and writes a pickled
`Proven` to its standard output, or why it could not prove the part.
"""

import gc
import itertools
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self, cast

from headrace.contract.verdicts import Verdict
from headrace.kafka.client import Kafka
from headrace.kafka.cluster import Block
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

log = logging.getLogger(__name__)

FEWEST = 100_000
"""Offsets of a topic-partition that are worth dividing; a worker takes half a second to start."""
LARGEST = 250_000
"""Offsets of a part, at most: what is counted of each record of a batch has to fit into memory."""
MOST = 4
"""Workers, at most."""
FAILED = (
    OSError,
    EOFError,
    pickle.PickleError,
    ValueError,
    LookupError,
    AttributeError,
    ImportError,
    TypeError,
)
"""What reading from a worker may raise that was killed, or could not start."""
PROGRAM = f"from {__name__} import main; main()"
MEMORY = "256MB"
"""Of each of a worker's two databases; where rows do not fit, the part is not proven."""


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
    """The workers of a verify run. They start when they are needed, and end with the block.

    Args:
        root: The pipeline's folder.
        config: How to reach the cluster, in librdkafka's words; without it nothing is divided.
    """

    def __init__(self, root: Path, config: Mapping[str, Any] | None) -> None:
        self.root = root
        self.config = config
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.count = min(cores, MOST)
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._running:
            worker.kill()
            worker.communicate()
        self._running.clear()

    def prove(self, entry: Entry, readable: OffsetRange, sample: Undeclared) -> list[Proven] | None:
        """Prove a range in parts, as many at once as there are workers.

        Returns what they hold, in order; `None` if the range is too small to divide, or not all of it was
        proven.

        Args:
            sample: Each part takes one at the same rate.
        """
        if self.config is None or self.count == 1 or len(readable) < FEWEST:
            return None
        parts = [
            Part(self.root, entry, span, self.config, sample.another(span.from_offset))
            for span in _divided(readable, max(self.count, -(-len(readable) // LARGEST)))
        ]
        found: list[Proven | str] = []
        try:
            while len(self._running) < self.count:
                self._running.append(_start())
            for first in range(0, len(parts), self.count):
                asked = parts[first : first + self.count]
                for worker, part in zip(self._running, asked, strict=False):
                    pickle.dump(part, cast(IO[bytes], worker.stdin))
                    cast(IO[bytes], worker.stdin).flush()
                for worker, _ in zip(self._running, asked, strict=False):
                    found.append(pickle.load(cast(IO[bytes], worker.stdout)))  # noqa: S301, of a process of ours
                if why := next((each for each in found if isinstance(each, str)), None):
                    log.info("%s is verified in one process: %s.", readable, why)
                    return None
        except FAILED as error:
            log.warning("A worker failed (%s: %s); verifying without it.", type(error).__name__, error)
            self.__exit__()
            return None
        return cast(list[Proven], found)


def _start() -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-c", PROGRAM]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


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

    def prove(self, part: Part) -> Proven | str:
        """Read a part and compare it. Returns why it is not proven, if not all of it is as it should be."""
        rows, proven = self._rows, Proven(part.span, part.sample)
        if any(rows.gone.values()):
            return "a file is gone"
        rows.judged.clear()
        self._judge.sample = part.sample
        for block, span in spans(part.span, Kafka(part.config).read(part.span)):
            rows.compare(block, span)
            if self._findings.any or not rows.readable:
                return "its rows differ from its records, or can't be read"
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the verify process ends its workers
    gc.disable()  # blocks hold tens of thousands of objects, and none of them refers to itself
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else may write there
    prover = None
    with suppress(EOFError, BrokenPipeError):
        while True:
            part = pickle.load(sys.stdin.buffer)  # noqa: S301, of the process that started this one
            try:
                if prover is None or (prover.root, prover.entry) != (part.root, part.entry):
                    prover = Prover(part.root, part.entry)
                found = prover.prove(part)
            except Exception as error:  # noqa: BLE001, the verify process meets it again, and reports it
                found = f"a worker met a {type(error).__name__}"  # its text may quote a record
            if isinstance(found, str):
                prover = None
            pickle.dump(found, answers)
            answers.flush()
