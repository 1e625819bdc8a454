"""What a demo makes of JSON."""

import json
from collections.abc import Callable
from typing import Any

from headrace.contract.pipeline import Demo
from headrace.contract.verdicts import Field


def valid(fields: tuple[Field, ...], demo: Demo, choice: int, at_least: int) -> bytes:
    """An object with a value for each field; filled up by a member of its own."""
    document = _object(fields, demo, choice)
    if at_least:
        document["padding"] = "x" * at_least
    return json.dumps(document).encode()


def malformed(fields: tuple[Field, ...]) -> tuple[Callable[[Demo, int], bytes | None], ...]:
    """One way for each reason; where no field is required, none can be missing."""

    def usable(demo: Demo, choice: int) -> bytes:
        return valid(fields, demo, choice, 0)

    def changed(change: Callable[[dict[str, Any], Field], None]) -> Callable[[Demo, int], bytes]:
        candidates = required or fields

        def make(demo: Demo, choice: int) -> bytes:
            document = _object(fields, demo, choice)
            change(document, candidates[choice % len(candidates)])
            return json.dumps(document).encode()

        return make

    required = [field for field in fields if field.required]
    return (
        lambda *_: None,
        lambda *_: b"",
        lambda demo, choice: usable(demo, choice) + b"\xc3",
        lambda demo, choice: usable(demo, choice)[:-1],
        lambda demo, choice: b"[" + usable(demo, choice) + b"]",
        changed(_wrong_type),
        *([changed(_missing)] if required else []),
    )


def _object(fields: tuple[Field, ...], demo: Demo, choice: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for field in fields:
        choice, here = divmod(choice, 1009)
        values = demo.values.get(field.name)
        document[field.name] = values[here % len(values)] if values else field.type.sample_value(here)
    return document


def _wrong_type(document: dict[str, Any], field: Field) -> None:
    document[field.name] = [document[field.name]]


def _missing(document: dict[str, Any], field: Field) -> None:
    del document[field.name]
