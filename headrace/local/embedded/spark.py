"""Spark's configuration folder and environment on this machine."""

import json
import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil

from headrace import documents
from headrace.errors import UnavailableError
from headrace.local.embedded.services import processes_with
from headrace.settings import ROOT

MACHINE = "machine.json"
"""File with the settings of this machine."""

SHARED = ROOT / "spark_apps" / "conf"
"""What both ways to run Headrace share."""


def prepare(folder: Path, connector: str, archive: Path | None) -> None:
    """Write SPARK_CONF_DIR: the shared settings, and those of this machine.

    Args:
        connector: Class path of the Kafka connector.
        archive: Of Spark's classes; used if it is there, since naming one that is not would make Java do
            without its own, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scratch(folder).mkdir(exist_ok=True)
    here = {
        "spark.driver.extraJavaOptions": java_options(
            folder, f"-XX:SharedArchiveFile={archive}" if archive and archive.exists() else ""
        ),
        # Driver and executor are one process here.
        "spark.driver.memory": "1g",
        # On the class path from the start: `--jars` would copy and load them each time.
        "spark.driver.extraClassPath": connector,
        "spark.executor.extraClassPath": connector,
    }
    documents.replace(folder / MACHINE, json.dumps(here).encode())
    refresh(folder)
    documents.replace(folder / "log4j2.properties", (SHARED / "log4j2.properties").read_bytes())
    prepare_python(folder)


def refresh(folder: Path) -> None:
    """Write Spark's settings again, so that a change of the shared ones counts for the next driver."""
    if not (folder / MACHINE).exists():
        return  # an earlier version has started this stack
    here = json.loads((folder / MACHINE).read_text())
    # Utf-8 is what Spark reads; the user's bytes stay, whatever they are.
    shared = (SHARED / "spark-defaults.conf").read_text("utf-8", errors="surrogateescape")
    given = _settings(shared)
    for key, between in JOINED.items():  # Headrace's own are needed, too
        here |= {key: f"{here[key]}{between}{given[key]}"} if key in given else {}
    lines = "".join(
        f"{key:<65} {value}\n" for key, value in here.items() if key in JOINED or key not in given
    )
    path = folder / "spark-defaults.conf"
    text = f"{shared}\n# This machine. Written again before each run; a setting of your own goes into {SHARED / 'spark-defaults.conf'}.\n{lines}"
    content = text.encode("utf-8", errors="surrogateescape")
    if not path.exists() or path.read_bytes() != content:
        documents.replace(path, content)  # as a whole: a driver may be starting meanwhile


JOINED = {
    "spark.driver.extraJavaOptions": " ",
    "spark.driver.extraClassPath": os.pathsep,
    "spark.executor.extraClassPath": os.pathsep,
}
"""Settings that are lists: a value of the user's own is added to this machine's. Of all others the user's own
counts."""


def _settings(text: str) -> dict[str, str]:
    """What a file of Spark's settings says."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (
        re.split(r"\s*[=:\s]\s*", line, maxsplit=1)
        for line in lines
        if line and not line.startswith(("#", "!"))
    )
    return {pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs}


WITHOUT_ZIPS = """\
#!/bin/sh
# Rewritten at each start; changes are lost.
found={packages}
IFS=:
for place in $PYTHONPATH; do
  case $place in
    */pyspark.zip | */py4j-*-src.zip) ;;
    *) found=$found:$place ;;
  esac
done
PYTHONPATH=$found exec {python} "$@"
"""


def prepare_python(folder: Path) -> None:
    """Write the command that Spark takes for Python, in the driver and in the workers.

    Spark puts zips of PySpark and py4j in front, of which Python keeps no bytecode: each process would
    compile them again, for about a second. The same two are installed, and compiled; so they take the place
    of the zips, but not all that is installed goes before Python's own modules.
    """
    packages = folder / "packages"
    packages.mkdir(exist_ok=True)
    for name in ("pyspark", "py4j"):
        link, target = packages / name, installed(name)
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    command = python(folder)
    beside = command.with_name(f".{command.name}.{os.getpid()}")
    beside.write_text(
        WITHOUT_ZIPS.format(packages=shlex.quote(str(packages)), python=shlex.quote(sys.executable))
    )
    beside.chmod(0o755)
    beside.replace(command)


def python(folder: Path) -> Path:
    """Where Spark's Python is, as a command."""
    return folder / "python"


def scratch(folder: Path) -> Path:
    """Where drivers put their temporary files.

    One that is killed leaves them there, and not in the machine's own folder for such files.
    """
    return folder.parent / "tmp"


def java_options(folder: Path, archiving: str) -> str:
    """Return options for the driver's Java.

    They say where its log settings and its temporary files are, and what to do about archived classes.
    """
    # In quotes: there may be spaces in a path.
    places = f'-Dlog4j2.configurationFile={(folder / "log4j2.properties").as_uri()} "-Djava.io.tmpdir={scratch(folder)}"'
    return f'{places} "{archiving}" -Xlog:disable' if archiving else places


BOOT = 60.0
"""Seconds by which a process may seem to have begun too late: its start is counted from the machine's, which
is known less exactly."""


def tidy(folder: Path, before: float = math.inf) -> None:
    """Remove what killed drivers have left before a moment, and before any that runs now began.

    The moment is in seconds since 1970.
    """
    running = [process for process in processes_with("SPARK_CONF_DIR", str(folder)) if _is_driver(process)]
    before = min(before, *(process.create_time() - BOOT for process in running), math.inf)
    for left in scratch(folder).glob("*"):
        with suppress(FileNotFoundError):  # a driver that ends removes its own
            if left.lstat().st_mtime >= before:
                continue
        shutil.rmtree(left, ignore_errors=True)
        with suppress(OSError):
            left.unlink()


def _is_driver(process: psutil.Process) -> bool:
    """Whether a process is Spark's, or about to become it. Airflow's services have the same environment."""
    with suppress(psutil.Error):
        return any("spark" in argument for argument in process.cmdline())
    return False


def environment(folder: Path, java_home: Path, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what `spark-submit` needs to run with the configuration in `folder`."""
    scripts = str(Path(sys.executable).parent)
    return {
        # A Spark or Python of the user's own must not get between the parts that fit together.
        "SPARK_HOME": str(pyspark_folder()),
        "PYSPARK_PYTHON": str(python(folder)),
        "PYSPARK_DRIVER_PYTHON": str(python(folder)),
        "JAVA_HOME": str(java_home),
        "SPARK_CONF_DIR": str(folder),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PATH": f"{scripts}:{inherited.get('PATH', os.defpath)}",
        "PYTHONPATH": str(ROOT),
    }


def pyspark_folder() -> Path:
    """Find pyspark, which is Spark's home."""
    return installed("pyspark")


def installed(package: str) -> Path:
    """Find a package without importing it."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UnavailableError(
            f"{package} is not installed here; run this with the Python in .venv, which make sets up."
        )
    return Path(found.submodule_search_locations[0])
