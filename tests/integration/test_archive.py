"""The archive of Spark's classes."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from headrace.local import spark
from headrace.local.layout import Layout
from headrace.settings import ROOT
from scheduler import until
from slices import Slice, broken

pytestmark = pytest.mark.xdist_group("archived")


def test_making_it_leaves_nothing_else(archived: Layout) -> None:
    """The stream that it was made by wrote into a folder that is gone."""
    assert sorted(path.name for path in archived.spark_conf.parent.iterdir()) == sorted(["conf", archived.spark_classes.name])


def test_a_stream_starts_from_it(new_slice: Callable[..., Slice], archived: Layout) -> None:
    """Java maps it, and the stream is as ever."""
    one = new_slice()
    one.produce("run", records=100, malformed=0.1)
    command = ["spark-submit", "--master", "local[2]", str(ROOT / "spark_apps" / "filter_stream.py"), *one.arguments]
    environment = {**os.environ, **spark.environment(archived.spark_conf, archived.java_home)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as stream:
        process = psutil.Process(stream.pid)
        until("the archive is mapped", lambda: any(Path(each.path) == archived.spark_classes for each in process.memory_maps()), within=60)
        said, _ = stream.communicate(timeout=180)
    assert stream.returncode == 0, said
    assert broken(one.verify()) == {}
