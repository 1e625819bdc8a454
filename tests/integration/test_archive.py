"""The archive of Spark's classes."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil

from headrace.local import archive, spark
from headrace.local.layout import Layout
from headrace.settings import ROOT, Settings
from scheduler import until
from slices import Slice, broken


def test_a_stream_starts_from_the_archive_that_another_left(new_slice: Callable[..., Slice], layout: Layout, tmp_path: Path) -> None:
    """Making it publishes nothing and leaves nothing but the archive; from then on Java maps it, and the stream is as ever."""
    one = new_slice()
    one.produce("run", records=100, malformed=0.1)
    home = tmp_path / "home"
    home.mkdir()
    for name, target in (("java", layout.java_home), ("jars", layout.jars)):
        (home / name).symlink_to(target)
    settings = Settings.from_environment({"HEADRACE_HOME": str(home), "HEADRACE_KAFKA_PORT": one.servers.rpartition(":")[2]})
    archive.use(settings)
    archive.make(settings, one.pipeline.path)
    own = Layout.of(settings)
    assert sorted(path.name for path in own.spark_conf.parent.iterdir()) == sorted(["conf", own.spark_classes.name])
    assert one.ledger == []

    command = ["spark-submit", "--master", "local[2]", str(ROOT / "spark_apps" / "filter_stream.py"), *one.arguments]
    environment = {**os.environ, **spark.environment(own.spark_conf, own.java_home)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as stream:
        process = psutil.Process(stream.pid)
        until("the archive is mapped", lambda: any(Path(each.path) == own.spark_classes for each in process.memory_maps()), within=60)
        said, _ = stream.communicate(timeout=180)
    assert stream.returncode == 0, said
    assert broken(one.verify()) == {}
