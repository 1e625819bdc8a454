"""Names on disk."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace import documents
from headrace.ledger.folder import Folder
from headrace.ledger.names import LONGEST, quoted
from headrace.ledger.progress import Started


def test_a_run_of_120_colons_has_its_files(tmp_path: Path) -> None:
    """Airflow takes run ids of up to 250 characters, and each may become three."""
    folder, run = Folder(tmp_path), ":" * 120
    some = Started(run=run, started_at=datetime.now(UTC))
    for path in (folder.receipt(run), folder.verified_receipt(run), folder.report(run) / "report.json"):
        documents.write(path, some)
        assert documents.read(path, Started) == some


@pytest.mark.parametrize(
    "run", ["scheduled__2026-11-27T20:00:00+00:00", "~", "..", "a/b", "ü" * 40, "x" * LONGEST]
)
def test_a_name_that_fits_says_which_run_it_is(run: str) -> None:
    """And stays what it was: folders of before are found."""
    found = quoted(run)
    assert len(found) <= LONGEST
    assert not set(found) & set("/~:")
    assert found != ".."
    assert found.isascii()


def test_no_two_runs_have_one_name() -> None:
    """Neither two that begin alike, nor a short one that looks like a shortened one."""
    long = ["x" * (LONGEST + 1), "x" * (LONGEST + 2), "x" * 250 + ":"]
    runs = [*long, *map(quoted, long), ":" * 120, "%3A" * 120, "." * 120]
    assert len(set(map(quoted, runs))) == len(runs)
    assert max(map(len, map(quoted, runs))) <= LONGEST
