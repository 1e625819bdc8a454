"""All pipelines at a glance: what each one does, how its last verify run ended, and what waits."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from headrace.contract.pipeline import Pipeline
from headrace.errors import HeadraceError, UsageError
from headrace.ledger.folder import Folder
from headrace.verify.stored import PAGE, find


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One pipeline."""

    name: str
    state: str
    """`streaming`, `idle`, `never ran`, or `unusable` with a file or folder that can't be read."""
    schedule: str | None = None
    """Cron, in UTC."""
    outcome: str | None = None
    """Of the last verify run: `green`, `red`, or `not final` where it has not ended or the data changed
    during it; null before the first."""
    checked_at: datetime | None = None
    waiting: int | None = None
    """Offsets that waited in Kafka at that moment."""
    problem: str | None = None


def rows(dags: Path, data: Path) -> Iterator[Row]:
    """One row per pipeline file, by name. Kafka is not asked: what waits is as of the last verify run."""
    for path in sorted(dags.glob("*.toml")):
        try:
            yield _row(Pipeline.load(path), Folder(data / path.stem))
        except (HeadraceError, OSError) as error:
            yield Row(name=path.stem, state="unusable", problem=str(error))


def _row(pipeline: Pipeline, folder: Folder) -> Row:
    state = "streaming" if folder.is_being_written() else "idle" if folder.events.exists() else "never ran"
    try:
        path, report = find(folder, None)
    except UsageError:
        return Row(name=pipeline.name, state=state, schedule=pipeline.schedule)
    return Row(
        name=pipeline.name,
        state=state,
        schedule=pipeline.schedule,
        outcome=("green" if report.is_green else "red") if path.with_name(PAGE).exists() else "not final",
        checked_at=report.checked_at,
        waiting=report.waiting.offsets,
    )
