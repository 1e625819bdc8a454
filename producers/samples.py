"""Demo payloads: each derives from seed and sequence number alone, so a resumed batch is the same batch."""

import hashlib

from headrace.contract.formats import of_samples
from headrace.contract.pipeline import Demo, Pipeline

LARGE_BYTES = 900_000
"""One record of each batch is this large, close to what a broker takes by default. It is valid."""

_SHARE_UNIT = 1 << 64


def payload(
    pipeline: Pipeline, demo: Demo, seed: int, sequence: int, malformed: float = 0.0, *, large: bool = False
) -> bytes | None:
    """The value of one record, malformed with probability `malformed`; a large one is always valid."""
    own = of_samples(pipeline.format)
    draw = hashlib.blake2b(f"{seed}:{sequence}".encode(), digest_size=24).digest()
    share, kind, choice = (int.from_bytes(draw[i : i + 8], "big") for i in (0, 8, 16))
    if not large and share < malformed * _SHARE_UNIT:
        kinds = own.malformed(pipeline.fields)
        return kinds[kind % len(kinds)](demo, choice)
    return own.valid(pipeline.fields, demo, choice, LARGE_BYTES if large else 0)
