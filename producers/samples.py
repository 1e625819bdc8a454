"""Demo payloads: each derives from seed and sequence number alone, so a resumed batch is the same batch.

By the same version: another may draw others.
"""

import hashlib
import struct
from functools import lru_cache

from headrace.contract.formats import of_samples
from headrace.contract.pipeline import Demo, Pipeline

LARGE_BYTES = 900_000
"""One record of each batch is this large, close to what a broker takes by default. It is valid."""

_SHARE_UNIT = 1 << 64
_BLOCK = 256
"""Records per hash: one for each of them would take ten times as long."""
_NUMBERS = struct.Struct(">QQQ")


def payload(
    pipeline: Pipeline, demo: Demo, seed: int, sequence: int, malformed: float = 0.0, *, large: bool = False
) -> bytes | None:
    """The value of one record, malformed with probability `malformed`; a large one is always valid."""
    own = of_samples(pipeline.format)
    share, kind, choice = _drawn(seed, sequence // _BLOCK)[sequence % _BLOCK]
    if not large and share < malformed * _SHARE_UNIT:
        kinds = own.malformed(pipeline.fields)
        return kinds[kind % len(kinds)](demo, choice)
    return own.valid(pipeline.fields, demo, choice, LARGE_BYTES if large else 0)


@lru_cache(maxsize=16)
def _drawn(seed: int, block: int) -> list[tuple[int, int, int]]:
    """What is drawn for each record of a block: place among the malformed, kind of them, and choice."""
    numbers = hashlib.shake_128(f"{seed}:{block}".encode()).digest(_BLOCK * _NUMBERS.size)
    return list(_NUMBERS.iter_unpack(numbers))
