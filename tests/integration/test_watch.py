"""The live view."""

import os
import queue
import re
import subprocess
import threading
from collections.abc import Callable, Iterable

from headrace.local.embedded import spark
from headrace.local.embedded.layout import Layout
from headrace.settings import ROOT
from slices import Slice


def test_it_shows_what_arrives_and_a_little_of_what_was_there(
    new_slice: Callable[..., Slice], layout: Layout
) -> None:
    """A topic of any size is taken up near its end: what is older is not read."""
    one = new_slice()
    one.write([(b"old", b"important")] * 1_500, partition=0)
    command = ["spark-submit", "--master", "local[2]", str(ROOT / "spark_apps" / "console_stream.py")]
    command += ["--pipeline", str(one.pipeline.path), "--bootstrap-servers", one.servers]
    environment = {**os.environ, **spark.environment(layout.spark_conf, layout.java_home)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as watching:
        lines: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=read, args=(watching.stdout, lines))
        reader.start()
        try:
            assert offset(lines) == 500
            one.write([(b"new", b"important")], partition=0)
            while offset(lines) != 1_500:
                pass
        finally:
            watching.terminate()
            reader.join(60)


def read(said: Iterable[str], lines: "queue.Queue[str]") -> None:
    """Put each line in the queue, so that waiting for one has an end; last an empty one."""
    for line in said:
        lines.put(line)
    lines.put("")


def offset(lines: "queue.Queue[str]") -> int:
    """The next offset that is shown; it fails with what was said instead if there is none."""
    said = []
    while True:
        said.append(lines.get(timeout=120))
        assert said[-1], "".join(said)
        if found := re.match(r"\S+-0 (\d+)  important", said[-1]):
            return int(found[1])
