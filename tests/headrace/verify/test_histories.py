"""Whatever happens to a pipeline: verify says what an oracle says that reads broker and files only."""

import os
from pathlib import Path

import pytest

from histories import FakeWorld, Operation, check, replay

HISTORIES = int(os.environ.get("HEADRACE_HISTORIES", "40"))
HAPPENS = (
    "green",
    "red",
    "refused",
    "killed",
    "with waiting",
    "with lost",
    "with unproven",
    "with gaps",
    "aged out",
    "accepted",
)


@pytest.mark.timeout(300 + HISTORIES)
def test_verify_agrees_with_the_oracle_in_random_histories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No false green and no false red.

    Colour, waiting, lost and unproven offsets and gaps are those that broker and files show.

    The environment variable HEADRACE_HISTORIES says how many: `HEADRACE_HISTORIES=2000 .venv/bin/pytest
    tests/headrace/verify/test_histories.py` takes about ten minutes. The seeds are 0, 1, 2, …, so a failing
    history fails again; the error names it, shortened, as arguments for `replay`.
    """
    # It is what takes longest, and power is cut by removing files.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    seen = check(tmp_path / "history", FakeWorld, range(HISTORIES))
    print(f"{HISTORIES} histories: {dict(sorted(seen.items()))}")  # noqa: T201
    assert [what for what in HAPPENS if not seen[what]] == [], (
        f"histories in which this never happens prove little: {seen}"
    )


# Fmt: skip.
FOUND: dict[str, tuple[Operation, ...]] = {
    "after one partition of a micro-batch had aged out in part, the rows of the next were said to be unreadable": (
        ("write", 0, "iio"),
        ("write", 1, "iio"),
        ("stream",),
        ("verify", "new"),
        ("age_out", 0, 50, "published"),
        ("verify", "all"),
    ),
    "compaction removed the last verified record: verify doubted everything, and no stream went on": (
        ("write", 0, "iioi"),
        ("stream",),
        ("verify", "new"),
        ("write", 0, "iioi"),
        ("compact", 0, 100, 1),
        ("keep", 0),
        ("verify", "new"),
        ("stream",),
    ),
    "the note of a commit was torn, and the one after it never written: Spark failed at each start": (
        ("write", 0, "i"),
        ("stream",),
        ("write", 0, "i"),
        ("stream", "committed", 0),
        ("cut", 1),
        ("stream",),
        ("verify", "new"),
    ),
    "Spark had made another checkpoint, and as long as verify was red for another reason it forgot what it had proven": (
        ("stream", "opened"),
        ("copy",),
        ("write", 0, "i"),
        ("stream",),
        ("verify", "new"),
        ("restore", "ledger"),
        ("stream",),
        ("write", 1, "i"),
        ("age_out", 1, 100, "all"),
        ("verify", "new"),
        ("age_out", 0, 100, "published"),
        ("verify", "new"),
    ),
}
"""What random histories have found to be wrong, each shortened."""


@pytest.mark.parametrize("operations", FOUND.values(), ids=[name.replace(" ", "-") for name in FOUND])
def test_what_was_wrong_once(tmp_path: Path, operations: tuple[Operation, ...]) -> None:
    """Verify and the stream do in these histories what the oracle says."""
    replay(tmp_path / "history", FakeWorld(), {"starting": "earliest", "most": 1_000_000}, operations)
