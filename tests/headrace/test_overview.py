"""All pipelines at a glance."""

import shutil
from pathlib import Path

import pytest

from headrace.ledger.folder import Folder
from headrace.overview import rows
from headrace.settings import ROOT
from headrace.verify.stored import PAGE, store
from tests.headrace.report.examples import report


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A folder with two pipeline files, and one for their data."""
    dags, data = tmp_path / "dags", tmp_path / "data"
    dags.mkdir()
    for name in ("important_messages", "shop_orders"):
        shutil.copy(ROOT / "dags" / f"{name}.toml", dags)
    return dags, data


def test_a_pipeline_that_never_ran_is_one_too(places: tuple[Path, Path]) -> None:
    """It has no outcome, and nothing is made to look for one."""
    assert [(row.name, row.state, row.outcome) for row in rows(*places)] == [
        ("important_messages", "never ran", None),
        ("shop_orders", "never ran", None),
    ]
    assert not places[1].exists()


def test_the_last_outcome_has_its_moment_and_what_waited(places: tuple[Path, Path]) -> None:
    """As the report says."""
    folder = Folder(places[1] / "shop_orders")
    folder.events.mkdir(parents=True)
    green = report()
    store(folder, green)
    assert list(rows(*places))[1].outcome == "not final"
    (folder.report(green.run) / PAGE).touch()
    _, row = rows(*places)
    assert (row.state, row.outcome, row.checked_at) == ("idle", "green", green.checked_at)
    assert row.waiting == green.waiting.offsets


def test_a_stream_that_runs_is_seen(places: tuple[Path, Path]) -> None:
    """By its lock."""
    folder = Folder(places[1] / "shop_orders")
    folder.root.mkdir(parents=True)
    with folder.locked("a stream"):
        assert [row.state for row in rows(*places)] == ["never ran", "streaming"]


def test_one_file_that_can_t_be_read_hides_no_other(places: tuple[Path, Path]) -> None:
    """It is a row with what is wrong."""
    (places[0] / "important_messages.toml").write_text("this is no TOML")
    broken, other = rows(*places)
    assert broken.state == "unusable"
    assert "it is not TOML" in (broken.problem or "")
    assert other.state == "never ran"
