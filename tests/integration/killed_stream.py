"""The Spark app, with driver and JVM killed (-9) at a named moment. Submitted by `test_kills.py` in a session of its own."""

import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from headrace.ledger import publish
from spark_apps import filter_stream, publisher


def die(*_: Any) -> NoReturn:
    """Kill this process and the JVM that started it."""
    os.killpg(0, signal.SIGKILL)
    raise AssertionError


def between_renames(staged: Path, place: Path) -> None:
    """The quarantine is in place, the events are not."""
    if staged.name == "events":
        die()
    publish_bring(staged, place)


publish_bring = publish._bring  # noqa: SLF001
moment, *arguments = sys.argv[1:]
match moment:
    case "staging":
        publisher.publish.audit = die  # the files are staged, nothing is published
    case "between_renames":
        publish._bring = between_renames  # noqa: SLF001
    case "published":
        publish.shutil.rmtree = die  # type: ignore[assignment]
    case _:
        raise SystemExit(moment)
filter_stream.main(arguments)
