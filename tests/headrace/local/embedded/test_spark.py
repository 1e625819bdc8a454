"""Spark's configuration on this machine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.local.embedded import spark


def test_a_driver_imports_the_installed_pyspark_and_keeps_what_else_it_is_given(tmp_path: Path) -> None:
    """Spark puts its zips in front, and an app's own files (`--py-files`) with them.

    Both are there, and so are Python's own modules.
    """
    folder = tmp_path / "it's a folder"
    spark.prepare(folder, "connector.jar", archive=None)
    spark.prepare(folder, "connector.jar", archive=None)  # as at each start
    zips = sorted(map(str, spark.pyspark_folder().glob("python/lib/*.zip")))
    assert len(zips) == 2
    (tmp_path / "of_the_app.py").touch()
    code = "import of_the_app, py4j, pyspark, typing; print(py4j.__file__, pyspark.__file__, typing.__file__, sep='\\n')"
    done = subprocess.run(
        [spark.python(folder), "-c", code],
        env={"PYTHONPATH": ":".join([str(tmp_path), *zips])},
        capture_output=True,
        text=True,
        check=False,
    )
    py4j, pyspark, typing = map(Path, done.stdout.splitlines())
    assert [py4j.parent, pyspark.parent] == [folder / "packages" / "py4j", folder / "packages" / "pyspark"], (
        done.stderr
    )
    assert "site-packages" not in typing.parts


def test_paths_with_spaces_are_one_option_each(tmp_path: Path) -> None:
    """Java takes what follows a space for the main class."""
    folder = tmp_path / "a folder" / "conf"
    archive = folder.parent / "classes.jsa"
    folder.mkdir(parents=True)
    archive.touch()
    spark.prepare(folder, "connector.jar", archive)
    (line,) = [
        line
        for line in (folder / "spark-defaults.conf").read_text().splitlines()
        if line.startswith("spark.driver.extraJavaOptions")
    ]
    assert f'"-Djava.io.tmpdir={spark.scratch(folder)}"' in line
    assert f'"-XX:SharedArchiveFile={archive}" -Xlog:disable' in line


def test_a_driver_that_runs_out_of_memory_ends_and_says_what_helps(tmp_path: Path) -> None:
    """Spark would go on for a while, and print four hundred lines of traces."""
    spark.prepare(tmp_path / "conf", "connector.jar", archive=None)
    options = (tmp_path / "conf" / "spark-defaults.conf").read_text()
    assert "-XX:+ExitOnOutOfMemoryError" in options
    assert '"-XX:OnOutOfMemoryError=echo Out of memory: raise spark.driver.memory in' in options


def test_the_user_s_own_settings_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in spark_apps/conf counts.

    Of lists this machine's part stays, since nothing starts without it.
    """
    shared = tmp_path / "shared"
    shutil.copytree(spark.SHARED, shared)
    with (shared / "spark-defaults.conf").open("a") as file:
        file.write(
            "spark.driver.memory 3g\nspark.driver.extraJavaOptions -Dmine=1\nspark.driver.extraClassPath /mine.jar\n"
        )
    monkeypatch.setattr(spark, "SHARED", shared)
    spark.prepare(tmp_path / "conf", "connector.jar", archive=None)
    lines = [
        line.split(maxsplit=1)
        for line in (tmp_path / "conf" / "spark-defaults.conf").read_text().splitlines()
    ]
    # Of two lines Spark takes the later one.
    found = {parts[0]: parts[1] for parts in lines if len(parts) > 1}
    assert found["spark.driver.memory"] == "3g"
    assert found["spark.driver.extraClassPath"] == f"connector.jar{os.pathsep}/mine.jar"
    assert found["spark.driver.extraJavaOptions"].endswith(" -Dmine=1")
    assert "-Djava.io.tmpdir" in found["spark.driver.extraJavaOptions"]


def test_a_setting_that_was_changed_counts_for_the_next_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stack need not be restarted for it. Whatever bytes the user's comments hold, they stay."""
    shared, conf = tmp_path / "shared", tmp_path / "conf"
    shutil.copytree(spark.SHARED, shared)
    monkeypatch.setattr(spark, "SHARED", shared)
    spark.refresh(conf)  # of a stack that was started before there was anything to refresh from
    spark.prepare(conf, "connector.jar", archive=None)
    before = (conf / "spark-defaults.conf").read_text()
    with (shared / "spark-defaults.conf").open("ab") as file:
        file.write(b"# f\xfcr grosse Saetze\nspark.driver.memory 3g\n")
    spark.refresh(conf)
    assert b"# f\xfcr grosse" in (conf / "spark-defaults.conf").read_bytes()
    after = (conf / "spark-defaults.conf").read_text(errors="replace")
    assert "spark.driver.memory 3g" in after
    assert re.search(r"spark\.driver\.memory +1g", before)
    assert not re.search(r"spark\.driver\.memory +1g", after)
    assert "connector.jar" in after


def left_by_a_driver(folder: Path) -> Path:
    """A folder with something in it, and a file, as a driver that was killed leaves them."""
    (spark.scratch(folder) / "blockmgr-1" / "00").mkdir(parents=True)
    (spark.scratch(folder) / "liblz4.so").touch()
    return spark.scratch(folder)


def test_what_killed_drivers_left_goes_but_not_under_a_driver_that_runs(tmp_path: Path) -> None:
    """What is older than it goes. Airflow's services, which have the same environment, are no drivers."""
    folder = tmp_path / "conf"
    spark.prepare(folder, "connector.jar", archive=None)
    scratch = left_by_a_driver(folder)
    os.utime(scratch / "liblz4.so", (0, 0))
    environment = {**os.environ, "SPARK_CONF_DIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", "input()", "spark-submit"], stdin=subprocess.PIPE, env=environment
    ) as driver:
        spark.tidy(folder)
        assert [path.name for path in scratch.iterdir()] == ["blockmgr-1"]
        driver.communicate(b"\n")
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment
    ) as service:
        spark.tidy(folder, before=0)
        assert [path.name for path in scratch.iterdir()] == ["blockmgr-1"], "it is younger"
        spark.tidy(folder)
        assert list(scratch.iterdir()) == []
        service.communicate(b"\n")
