"""`docker/up`, with docker, `id` and `chown` made up: whose the secrets and the data folder are."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from headrace.local.compose import NEEDED
from headrace.settings import ROOT

COMMANDS = {"docker": "exit 0", "id": 'echo "$USER_ID"', "chown": 'echo "$@" >> chowned'}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the script in it, and the commands that it calls."""
    for folder in ("docker", "bin"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "docker" / "up", tmp_path / "docker")
    for name, does in COMMANDS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def up(checkout: Path, user: int, sudo: int | None = None) -> list[str]:
    """Run the script as that user; returns what was given to whom."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "SUDO_"))
    }
    own = {"PATH": f"{checkout / 'bin'}:{os.environ['PATH']}", "USER_ID": str(user)} | (
        {} if sudo is None else {"SUDO_UID": str(sudo)}
    )
    subprocess.run([checkout / "docker" / "up"], env=inherited | own, capture_output=True, check=True)
    chowned = checkout / "chowned"
    return chowned.read_text().splitlines() if chowned.exists() else []


def user_in(env: Path) -> str:
    """As whom containers run."""
    return next(
        line.partition("=")[2] for line in env.read_text().splitlines() if line.startswith("HEADRACE_UID=")
    )


def test_secrets_are_made_once_and_for_their_owner(checkout: Path) -> None:
    """All of them, none empty, readable by the user only, and the next start leaves them as they are."""
    assert up(checkout, 1000) == []
    env = checkout / ".env"
    made = env.read_text()
    secrets = dict(line.split("=", 1) for line in made.splitlines() if not line.startswith("#"))
    assert tuple(secrets) == NEEDED
    assert all(secrets.values())
    assert len(set(secrets.values())) == len(NEEDED)
    assert env.stat().st_mode & 0o777 == 0o600
    assert user_in(env) == "1000"
    assert up(checkout, 1000) == []
    assert env.read_text() == made


def test_behind_sudo_all_of_it_is_the_users(checkout: Path) -> None:
    """Containers run as who called sudo; the secrets and the data folder are theirs."""
    assert up(checkout, 0, sudo=1000) == ["1000 .env.new", "1000:0 data"]
    assert user_in(checkout / ".env") == "1000"


@pytest.mark.parametrize("sudo", [None, 0])
def test_for_root_containers_run_as_nobody_of_the_host(checkout: Path, sudo: int | None) -> None:
    """The secrets stay root's, the data folder is the containers' user's."""
    assert up(checkout, 0, sudo) == ["50000:0 data"]
    assert user_in(checkout / ".env") == "50000"


def test_root_gives_away_no_folder_that_was_there(checkout: Path) -> None:
    """Whatever lies in it belongs to somebody; one that was removed is made anew for the user in .env."""
    (checkout / "data").mkdir()
    assert up(checkout, 0, sudo=1000) == ["1000 .env.new"]
    (checkout / "data").rmdir()
    assert up(checkout, 0) == ["1000 .env.new", "1000:0 data"]
