"""Which Java runs, and the launcher before the pinned one."""

import subprocess
from pathlib import Path

import pytest

from headrace.errors import Code, UsageError
from headrace.local.install import java


def _script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o755)


def test_the_launcher_takes_away_only_what_the_pinned_java_lacks(tmp_path: Path) -> None:
    """Every other argument arrives as it was, spaces and empty ones too."""
    _script(tmp_path / "bin" / "java", java.LAUNCHER)
    _script(tmp_path / "runtime" / "bin" / "java", '#!/bin/sh\nprintf "[%s]" "$@"\n')
    arguments = [
        "-Xmx1g",
        "--add-modules=jdk.incubator.vector",
        "a b",
        "",
        "--add-opens=java.base/sun.security.action=ALL-UNNAMED",
        "*",
    ]
    done = subprocess.run([tmp_path / "bin" / "java", *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == "[-Xmx1g][a b][][*]"


@pytest.mark.parametrize(
    ("said", "release"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('openjdk version "25" 2025-09-16', 25)],
)
def test_a_java_of_the_users_own_is_used_if_spark_runs_on_it(tmp_path: Path, said: str, release: int) -> None:
    """Any build of 17, 21 or 25 will do."""
    _script(tmp_path / "bin" / "java", f"#!/bin/sh\necho '{said}' >&2\n")
    assert java.check(tmp_path) == release


@pytest.mark.parametrize(("version", "release"), [("1.8.0_402", 8), ("24.0.2", 24)])
def test_another_java_is_refused(tmp_path: Path, version: str, release: int) -> None:
    """The message names the variable, the version and the way out."""
    _script(tmp_path / "bin" / "java", f"#!/bin/sh\necho 'java version \"{version}\"' >&2\n")
    with pytest.raises(UsageError, match=rf"is Java {release}; name Java 17, 21 or 25"):
        java.check(tmp_path)


def test_a_folder_without_java_is_refused(tmp_path: Path) -> None:
    """The message names the file that is missing."""
    with pytest.raises(UsageError, check=Code.JAVA.fits):
        java.prepare(tmp_path, tmp_path / "unused")


def test_java_goes_through_the_proxy_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java reads no proxy variables by itself."""
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    options = java.network_options({"SSL_CERT_FILE": str(tmp_path / "none")}, tmp_path / "trust")
    assert {"-Dhttps.proxyHost=proxy.example", "-Dhttps.proxyPort=3128"} <= set(options)
