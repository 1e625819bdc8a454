"""Record the file operations of two streams, for `test_power_cuts.py`.

Needs strace, which the test itself does not.

    PYTHONPATH=. .venv/bin/python tests/integration/record_operations.py

Writes `power_cut_operations.txt`. Record again when Spark's version changes, or when what Headrace does on
disk changes on purpose.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyspark
from pyspark.sql import SparkSession

import brokers
from brokers import free_port
from headrace.local.client.console import Say
from headrace.local.embedded import spark as local_spark
from headrace.local.embedded import stack
from headrace.local.embedded.layout import Layout
from headrace.settings import Settings
from power_cuts import NAME, Operation, Who, normal, two_streams, write_recorded
from slices import TEXT, Slice

KINDS = {
    **dict.fromkeys(("open", "openat", "creat"), "create"),
    **dict.fromkeys(("write", "pwrite64", "truncate", "ftruncate"), "write"),
    **dict.fromkeys(("fsync", "fdatasync"), "sync"),
    **dict.fromkeys(("rename", "renameat", "renameat2"), "rename"),
    **dict.fromkeys(("mkdir", "mkdirat"), "mkdir"),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), "remove"),
}
"""What system calls do."""
LINE = re.compile(r"(?P<thread>\d+)<(?P<name>.*?)> (?P<call>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
UNFINISHED = re.compile(r"(?P<start>(?P<thread>\d+)<.*?> \w+\(.*) <unfinished \.\.\.>")
RESUMED = re.compile(r"(?P<thread>\d+)<.*?> <\.\.\. \w+ resumed>(?P<rest>.*)")
PATH = re.compile(r'"(?P<named>[^"]*)"|\d+<(?P<open>[^>]*)>')
MARK = "mark-"


def traced(base: Path, servers: str) -> None:
    """What is recorded: two batches, each streamed, in this process and the JVM that it starts."""
    SparkSession.builder.master("local[2]").getOrCreate()
    one = Slice.make(base, servers, NAME, TEXT, "recorded-")
    for name in two_streams(one):
        (base / f"{MARK}{name}").touch()


def operations(trace: Path, base: Path) -> Iterator[Operation | str]:
    """What was done below the pipeline's folder and to the folder above, in the order in which it ended.

    A stream's name where it begins.
    """
    root = base / "data" / NAME
    for call, name, arguments in _calls(trace):
        if KINDS[call] == "create" and "O_CREAT" not in arguments and "O_TRUNC" not in arguments:
            continue
        paths = [Path(found["named"] or found["open"]) for found in PATH.finditer(arguments)]
        paths = [path for path in paths if path.is_relative_to(base)]
        if paths and KINDS[call] == "create" and paths[0].name.startswith(MARK):
            yield paths[0].name.removeprefix(MARK)
        elif paths and all(path.is_relative_to(root.parent) for path in paths):
            places = paths if KINDS[call] == "rename" else paths[-1:]
            yield Operation(
                Who.HEADRACE if name.startswith("python") else Who.SPARK,
                KINDS[call],
                *(normal(path, root) for path in places),
            )


def _calls(trace: Path) -> Iterator[tuple[str, str, str]]:
    """Calls that succeeded: name of the call, of the thread, and the arguments."""
    begun: dict[str, str] = {}
    for line in trace.read_text(errors="replace").splitlines():
        whole = line
        if found := UNFINISHED.match(line):
            begun[found["thread"]] = found["start"]
            continue
        if found := RESUMED.match(line):
            whole = begun.pop(found["thread"]) + found["rest"]
        if (found := LINE.match(whole)) and int(found["result"]) >= 0:
            arguments = found["arguments"]
            if found["call"] == "unlinkat" and (
                relative := re.match(r'\d+<([^>]*)>, "([^"/][^"]*)"', arguments)
            ):
                arguments = f'"{relative[1]}/{relative[2]}"'
            yield found["call"], found["name"], arguments


def main() -> None:
    """Run the traced part under strace and write what it did."""
    settings = Settings.from_environment()
    stack.prepare(settings, Say())
    layout = Layout.of(settings)
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        trace = base / "trace"
        port = free_port()
        with brokers.broker(base / "broker", port, layout.jars, layout.java_home):
            environment = {**os.environ, **local_spark.environment(layout.spark_conf, layout.java_home)}
            environment["PYTHONPATH"] = os.pathsep.join(
                [environment["PYTHONPATH"], str(Path(__file__).parent)]
            )
            work = base / "work"
            work.mkdir()
            command = [
                "strace",
                "--follow-forks",
                "--seccomp-bpf",
                "--decode-pids=comm",
                "--decode-fds=path",
                "--output",
                str(trace),
            ]
            command += [
                "--string-limit=4096",
                f"--trace={','.join(KINDS)}",
                sys.executable,
                __file__,
                str(work),
                f"127.0.0.1:{port}",
            ]
            subprocess.run(command, env=environment, check=True)
        write_recorded(pyspark.__version__, operations(trace, work))


if __name__ == "__main__":
    if sys.argv[1:]:
        traced(Path(sys.argv[1]), sys.argv[2])
    else:
        main()
