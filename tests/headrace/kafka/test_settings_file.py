"""Files by which a password reaches another process."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from headrace.kafka.settings_file import discard_left, kafka_file
from headrace.settings import ROOT, read_kafka_config

LOGIN = {"bootstrap.servers": "kafka:29092", "sasl.password": "secret"}

KILLED = """
import os, signal, sys
from pathlib import Path
from headrace.kafka.settings_file import kafka_file
with kafka_file({"sasl.password": "secret"}, Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def files(home: Path) -> list[Path]:
    """All files below a folder."""
    return [path for path in home.rglob("*") if path.is_file()]


def kill_one(home: Path) -> None:
    """Let a process be killed that has such a file."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(home)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


def test_only_its_user_can_read_it_and_only_meanwhile(tmp_path: Path) -> None:
    """File and folders are private, also a folder that was there before."""
    (tmp_path / "home" / "private").mkdir(parents=True, mode=0o755)
    with kafka_file(LOGIN, tmp_path / "home") as name:
        path = Path(name)
        assert path.is_relative_to(tmp_path / "home")
        assert [each.stat().st_mode & 0o777 for each in (path, path.parent)] == [0o600, 0o700]
        assert read_kafka_config(path) == LOGIN
    assert files(tmp_path) == []


def test_what_a_killed_process_leaves_is_removed(tmp_path: Path) -> None:
    """By whoever makes the next one, or asks for it; a file that is in use stays."""
    kill_one(tmp_path)
    assert len(files(tmp_path)) == 1
    with kafka_file(LOGIN, tmp_path) as first:
        assert files(tmp_path) == [Path(first)]
        kill_one(tmp_path)
        discard_left(tmp_path)
        with kafka_file(LOGIN, tmp_path) as second:
            assert set(files(tmp_path)) == {Path(first), Path(second)}
            assert json.loads(Path(first).read_text()) == LOGIN


def test_without_a_state_folder_there_is_nothing_to_remove(tmp_path: Path) -> None:
    """And none is made for it."""
    discard_left(tmp_path / "home")
    assert list(tmp_path.iterdir()) == []


def test_where_the_state_folder_cannot_be_made_it_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout may be read-only; what others keep in that place stays."""
    (tmp_path / "file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "another.json").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    for _ in range(2):
        with kafka_file(LOGIN, tmp_path / "file" / "home") as name:
            assert Path(name).parent == tmp_path / "elsewhere"
            assert Path(name).stat().st_mode & 0o077 == 0
    assert files(tmp_path / "elsewhere") == [tmp_path / "elsewhere" / "another.json"]
