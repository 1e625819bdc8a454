"""What a demo makes of text."""

import json
from collections.abc import Callable
from functools import cache

from headrace.contract.pipeline import Demo
from headrace.contract.verdicts import Field


def valid(_: tuple[Field, ...], demo: Demo, choice: int, at_least: int) -> bytes:
    """One of the samples as a JSON string, quotes included; filled up with blanks."""
    sample = demo.samples[choice % len(demo.samples)]
    return json.dumps(sample.ljust(at_least)).encode() if at_least else _encoded(sample)


@cache
def _encoded(sample: str) -> bytes:
    return json.dumps(sample).encode()


def malformed(fields: tuple[Field, ...]) -> tuple[Callable[[Demo, int], bytes | None], ...]:
    """No value, and one that is not UTF-8."""
    return (lambda *_: None, lambda demo, choice: valid(fields, demo, choice, 0) + b"\xff")
