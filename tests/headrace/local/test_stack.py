"""The state folder."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from headrace.errors import SurroundingsError
from headrace.local import stack
from headrace.local.layout import Layout


def test_a_new_folder_is_claimed(tmp_path: Path) -> None:
    """It is private, and says its version."""
    layout = Layout(tmp_path / "home", tmp_path / "java")
    stack.claim(layout)
    stack.claim(layout)
    assert layout.version.read_text() == stack.LAYOUT
    assert layout.home.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    """What is in there is left as it is."""
    (tmp_path / "version").write_text("0")
    with pytest.raises(SurroundingsError, match="made by another version of Headrace"):
        stack.claim(Layout(tmp_path, tmp_path / "java"))
    assert [path.name for path in tmp_path.iterdir()] == ["version"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """The message names the folder and the variable."""
    (tmp_path / "file").touch()
    with pytest.raises(SurroundingsError, match=r"file/home cannot be written .* HEADRACE_HOME"):
        stack.claim(Layout(tmp_path / "file" / "home", tmp_path / "java"))


def test_a_full_disk_is_refused_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how much is missing."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=300_000_000))
    with pytest.raises(SurroundingsError, match=r"Only 0\.3 GB are free .* 1 GB are needed"):
        stack.claim(Layout(tmp_path, tmp_path / "java"))
