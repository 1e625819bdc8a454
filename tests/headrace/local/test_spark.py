"""Spark's configuration on this machine."""

import subprocess
from pathlib import Path

from headrace.local import spark


def test_a_driver_imports_the_installed_pyspark_and_keeps_what_else_it_is_given(tmp_path: Path) -> None:
    """Spark puts its zips in front, and an app's own files (`--py-files`) with them; both are there, and so are Python's own modules."""
    folder = tmp_path / "it's a folder"
    spark.prepare(folder, "connector.jar", archive=None)
    spark.prepare(folder, "connector.jar", archive=None)  # as at each start
    zips = sorted(map(str, spark.pyspark_folder().glob("python/lib/*.zip")))
    assert len(zips) == 2
    (tmp_path / "of_the_app.py").touch()
    code = "import of_the_app, py4j, pyspark, typing; print(py4j.__file__, pyspark.__file__, typing.__file__, sep='\\n')"
    done = subprocess.run(
        [spark.driver_python(folder), "-c", code],
        env={"PYTHONPATH": ":".join([str(tmp_path), *zips])},
        capture_output=True,
        text=True,
        check=False,
    )
    py4j, pyspark, typing = map(Path, done.stdout.splitlines())
    assert [py4j.parent, pyspark.parent] == [folder / "packages" / "py4j", folder / "packages" / "pyspark"], done.stderr
    assert "site-packages" not in typing.parts
