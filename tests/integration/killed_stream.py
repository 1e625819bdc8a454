"""The Spark app, with driver and JVM killed (-9) at a named moment.

Submitted by `test_kills.py` in a session of its own.
"""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from headrace.ledger import publish
from spark_apps import filter_stream


def die(*_: Any) -> NoReturn:
    """Kill this process and the JVM that started it."""
    os.killpg(0, signal.SIGKILL)
    raise AssertionError


def between_renames(staged: Path, place: Path) -> None:
    """The quarantine is in place, the events are not."""
    if staged.name == "events":
        die()
    publish_bring(staged, place)


def after_renames(path: Path, **_: Any) -> None:
    """Both folders are in place, Spark has not committed."""
    if path.parent.name == "staging":
        die()


publish_bring = publish._bring  # noqa: SLF001
moment, *arguments = sys.argv[1:]
match moment:
    case "staging":
        publish.audit = die  # type: ignore[assignment]  # the files are staged, nothing is published
    case "between_renames":
        setattr(publish, "_bring", between_renames)  # noqa: B010
    case "published":
        setattr(shutil, "rmtree", after_renames)  # noqa: B010
    case _:
        raise SystemExit(moment)
filter_stream.main(arguments)
