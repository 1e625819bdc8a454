"""The supervisor's configuration and files."""

import os
import re
import shlex
import signal
import time
from pathlib import Path

from supervisor.options import ServerOptions

from headrace.local.embedded import services
from headrace.local.embedded.services import Service, State, Supervisor


def test_commands_reach_the_supervisor_as_they_are(tmp_path: Path) -> None:
    """Spaces and percent signs in paths are kept."""
    command = ["/a folder/java", "-Dx=100%", "it's"]
    configuration = tmp_path / "supervisor.conf"
    configuration.write_text(
        services._configuration(  # noqa: SLF001
            [Service("kafka", command, tmp_path / "100%.log")], tmp_path, str(tmp_path / "socket")
        )
    )
    options = ServerOptions()
    options.realize(["-c", str(configuration)])
    program = options.process_group_configs[0].process_configs[0]
    assert program.stdout_logfile == str(tmp_path / "100%.log")
    assert shlex.split(program.command) == command


def test_a_deep_folder_gets_a_short_socket(tmp_path: Path) -> None:
    """The system limits a socket's path to about a hundred bytes."""
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    supervisor = Supervisor(deep)
    path = supervisor._make_socket_path()  # noqa: SLF001
    assert len(path) < services.MAX_SOCKET
    assert (deep / "socket").read_text() == path
    supervisor._forget_socket()  # noqa: SLF001
    assert not Path(path).parent.exists()


def test_a_supervisor_that_was_never_started_does_not_run(tmp_path: Path) -> None:
    """Asking it is no error."""
    assert not Supervisor(tmp_path).is_running()
    assert Supervisor(tmp_path).states() == []


def test_a_supervisor_that_shuts_down_does_not_run_any_more(tmp_path: Path) -> None:
    """A question during `make down`, while a service is awaited, gets an answer."""
    supervisor = Supervisor(tmp_path)
    stubborn = ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]
    supervisor.start([Service("stubborn", stubborn, tmp_path / "log")], os.environ)
    supervisor.start_service("stubborn")
    assert supervisor.is_running()
    supervisor._call("shutdown")  # noqa: SLF001
    try:
        assert not supervisor.is_running()
        assert supervisor.states() == []
    finally:
        for process in supervisor.processes():
            process.kill()


def test_a_service_that_ended_and_was_started_again_is_said_to_be(tmp_path: Path) -> None:
    """With when, how, and where its log is."""
    supervisor = Supervisor(tmp_path)
    log = tmp_path / "log"
    supervisor.start([Service("fragile", ["sleep", "60"], log)], os.environ)
    try:
        supervisor.start_service("fragile")
        (before,) = _with_process(supervisor)
        assert before.restarted is None
        os.kill(before.pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while (after := _with_process(supervisor)[0]).pid == before.pid:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert re.fullmatch(
            rf"fragile ended at [-\d]+ [:\d]+ \(terminated by SIGKILL\) and was started again; its log: {log}",
            after.restarted or "",
        )
    finally:
        supervisor.stop()


def _with_process(supervisor: Supervisor) -> list[State]:
    """The states, once each service has a process."""
    deadline = time.monotonic() + 20
    while not all(state.pid for state in supervisor.states()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return supervisor.states()
