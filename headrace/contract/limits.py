"""The limits that a pipeline sets for itself, under `[limits]`: beyond one of them a verify run is red."""

from dataclasses import dataclass

from headrace.contract.reading import Table
from headrace.durations import seconds, written


@dataclass(frozen=True)
class Limits:
    """What is still acceptable; `None` where the file sets no limit.

    Attributes:
        lag: Age of the oldest waiting record, in seconds.
        freshness: Time since the last micro-batch with a record was published, in seconds.
        quarantined: Share of quarantined records, 0 to 1.
    """

    lag: float | None = None
    freshness: float | None = None
    quarantined: float | None = None

    def __str__(self) -> str:
        """What is set, as in the file."""
        durations = {"lag": self.lag, "freshness": self.freshness}
        parts = [f"{name} {written(value)}" for name, value in durations.items() if value is not None]
        return ", ".join(
            [*parts, *([f"quarantined {self.quarantined:g}"] if self.quarantined is not None else [])]
        )

    @property
    def any(self) -> bool:
        """Whether any is set."""
        return self != Limits()


def limits(file: Table) -> Limits:
    """Read the section `[limits]` of a pipeline file."""
    table = file.table("limits")
    if table is None:
        return Limits()
    found = Limits(
        lag=duration(table, "lag"),
        freshness=duration(table, "freshness"),
        quarantined=table.share("quarantined", None),  # type: ignore[arg-type]
    )
    table.refuse_others()
    return found


def duration(table: Table, key: str) -> float | None:
    """The duration that a key holds, in seconds; `None` if absent or, noted as a problem, invalid."""
    text = table.text(key, None)
    if text is None:
        return None
    if (found := seconds(text)) is None:
        table.mistake(
            key, text, "a number and a unit, such as '90 seconds', '15 minutes', '1 hour' or '2 days'"
        )
    return found
