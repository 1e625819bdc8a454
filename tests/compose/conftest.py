"""An engine where none runs, images, and one stack for all tests of a session."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.containers import IMAGES, Stack, free_ports

HERE = Path(__file__).parent
TOOLS = "HEADRACE_CONTAINER_TOOLS"
"""Names a folder with start-engine, install-compose, build-images and stop-engine, for machines that reach no
image registry."""


def pytest_configure() -> None:
    """Told to end, as by `timeout`, pytest takes the stack down first; told twice, it goes on with that."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These tests talk to containers.

    They run in the order in which they are written: the stack has a history.
    """
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.enable_socket)
            item.add_marker(pytest.mark.timeout(1500))


@pytest.fixture(scope="session")
def engine() -> Iterator[None]:
    """A container engine with compose; official images are pulled where nothing else is said."""
    tools = os.environ.get(TOOLS)
    if tools is None:
        assert answers(), (
            f"No container engine answers (`docker info`), and {TOOLS} names no folder with tools to start one."
        )
        yield
        return
    with tempfile.TemporaryDirectory(prefix="hr-") as folder, pytest.MonkeyPatch.context() as patch:
        # A copy that may be written: images inherit the files' modes.
        made = shutil.copytree(Path(tools), Path(folder) / "tools")
        for path in made.rglob("*"):
            path.chmod(path.stat().st_mode | 0o200)
        is_ours = not answers()
        state = f"{folder}/engine"
        try:
            if is_ours:
                for line in run(str(made / "start-engine"), state).splitlines():
                    name, _, value = line.removeprefix("export ").partition("=")
                    patch.setenv(name, value)
            patch.setenv("HEADRACE_BUILD_NETWORK", "host")
            patch.setenv("HEADRACE_POSTGRES_IMAGE", "postgres:17")  # what its stand-in is called
            run(str(made / "install-compose"))
            run(str(made / "build-images"))
            yield
        finally:
            if is_ours:
                run(str(made / "stop-engine"), state, "--purge")


@pytest.fixture(scope="session")
def checkout(engine: None) -> Iterator[Stack]:
    """A copy of the checkout, nothing of it started."""
    assert engine is None
    with tempfile.TemporaryDirectory(prefix="headrace-compose-") as folder:
        names = ("HEADRACE_KAFKA_PORT", "HEADRACE_UI_PORT", "HEADRACE_SPARK_PORT")
        yield Stack.copied(Path(folder), dict(zip(names, free_ports(len(names)), strict=True)))


@pytest.fixture(scope="session")
def stack(checkout: Stack) -> Iterator[Stack]:
    """The stack, brought up as a user brings it up."""
    try:
        done = subprocess.run(
            [checkout.root / "docker" / "up"],
            env=checkout.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=1200,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        yield checkout
    finally:
        checkout.compose("down", "--volumes", "--remove-orphans", "--timeout", "2", check=False)
        if left := checkout.containers():
            checkout.docker("rm", "--force", "--volumes", *left)
        checkout.docker("rmi", *IMAGES.values(), check=False)


def answers() -> bool:
    """Whether a container engine can be asked."""
    docker = shutil.which("docker")
    return (
        docker is not None
        and subprocess.run([docker, "info"], capture_output=True, check=False, timeout=60).returncode == 0
    )


def run(*command: str) -> str:
    """Run a tool; returns what it prints for programs."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, f"{command[0]}:\n{done.stderr[-4000:]}"
    return done.stdout
