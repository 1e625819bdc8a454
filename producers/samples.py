"""Demo payloads: each derives from the seed and its sequence number alone, so that a resumed batch is the same batch."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from headrace.contract.pipeline import Demo, Pipeline
from headrace.contract.verdicts import Field, FieldType, Format

LARGE_BYTES = 900_000
"""One record of each batch is this large, close to what a broker takes by default. It is valid."""

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_SHARE_UNIT = 1 << 64


def payload(pipeline: Pipeline, demo: Demo, seed: int, sequence: int, malformed: float = 0.0, *, large: bool = False) -> bytes | None:
    """The value of one record, malformed with probability `malformed`; a large one is always valid."""
    draw = hashlib.blake2b(f"{seed}:{sequence}".encode(), digest_size=24).digest()
    share, kind, choice = (int.from_bytes(draw[i : i + 8], "big") for i in (0, 8, 16))
    if not large and share < malformed * _SHARE_UNIT:
        kinds = MALFORMED[pipeline.format]
        if pipeline.fields and not any(field.required for field in pipeline.fields):
            kinds = kinds[:-1]  # none can be missing
        return kinds[kind % len(kinds)](pipeline, demo, choice)
    return _VALID[pipeline.format](pipeline, demo, choice, LARGE_BYTES if large else 0)


def _text(_: Pipeline, demo: Demo, choice: int, at_least: int) -> bytes:
    sample = demo.samples[choice % len(demo.samples)]
    return json.dumps(sample.ljust(at_least)).encode()


def _object(pipeline: Pipeline, demo: Demo, choice: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for field in pipeline.fields:
        choice, here = divmod(choice, 1009)
        values = demo.values.get(field.name)
        document[field.name] = values[here % len(values)] if values else _VALUES[field.type](here)
    return document


def _json(pipeline: Pipeline, demo: Demo, choice: int, at_least: int) -> bytes:
    document = _object(pipeline, demo, choice)
    if at_least:
        document["padding"] = "x" * at_least
    return json.dumps(document).encode()


_VALUES: Mapping[FieldType, Callable[[int], Any]] = {
    FieldType.STRING: lambda choice: f"text {choice}",
    FieldType.INT: lambda choice: choice % 100,
    FieldType.BIGINT: lambda choice: 10_000_000_000 + choice,
    FieldType.DOUBLE: lambda choice: choice / 4,
    FieldType.BOOLEAN: lambda choice: choice % 2 == 0,
    FieldType.TIMESTAMP: lambda choice: (_EPOCH + timedelta(minutes=choice)).isoformat().replace("+00:00", "Z"),
}

_VALID: Mapping[Format, Callable[[Pipeline, Demo, int, int], bytes]] = {Format.TEXT: _text, Format.JSON: _json}


def _with(pipeline: Pipeline, demo: Demo, choice: int, change: Callable[[dict[str, Any], Field], None]) -> bytes:
    document = _object(pipeline, demo, choice)
    required = [field for field in pipeline.fields if field.required]
    candidates = required or pipeline.fields
    change(document, candidates[choice % len(candidates)])
    return json.dumps(document).encode()


def _wrong_type(document: dict[str, Any], field: Field) -> None:
    document[field.name] = [document[field.name]]


def _missing(document: dict[str, Any], field: Field) -> None:
    del document[field.name]


MALFORMED: Mapping[Format, tuple[Callable[[Pipeline, Demo, int], bytes | None], ...]] = {
    Format.TEXT: (
        lambda *_: None,
        lambda _, demo, choice: _text(_, demo, choice, 0) + b"\xff",
    ),
    Format.JSON: (
        lambda *_: None,
        lambda *_: b"",
        lambda pipeline, demo, choice: _json(pipeline, demo, choice, 0) + b"\xc3",
        lambda pipeline, demo, choice: _json(pipeline, demo, choice, 0)[:-1],
        lambda pipeline, demo, choice: b"[" + _json(pipeline, demo, choice, 0) + b"]",
        lambda pipeline, demo, choice: _with(pipeline, demo, choice, _wrong_type),
        lambda pipeline, demo, choice: _with(pipeline, demo, choice, _missing),
    ),
}
"""Ways to be malformed, per format: one for each reason of the contract, in the order of the reasons."""
