"""What keeps a stack that is left on from growing.

It removes old logs of tasks, old rows of Airflow's database, and what killed drivers left.

    python -m headrace.local.embedded.housekeeping       a service: some minutes after its start, and then
                                                         once a day

What Airflow needs is imported by a process of its own, which ends: between two rounds this one takes 20 MB.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from headrace.durations import UNITS, written
from headrace.local.embedded.layout import Layout
from headrace.settings import Settings

log = logging.getLogger("headrace")

FIRST = 600.0
"""Seconds after the start: not while everything else starts, and soon enough on a machine that runs for an
hour a day."""
EVERY = 86_400.0
"""Seconds between two rounds."""
ROWS_TIMEOUT = 3600.0
"""Seconds that the removal of rows may take."""


def main() -> None:
    """Do a round again and again, whatever became of the last one."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    settings = Settings.from_environment()
    time.sleep(FIRST)
    while True:
        try:
            tidy(settings, os.environ, time.time())
        except (OSError, subprocess.SubprocessError):
            log.exception("not all of it could be removed; the next round tries again")
        time.sleep(EVERY)


def tidy(settings: Settings, environment: Mapping[str, str], now: float) -> None:
    """Do one round."""
    logs = Path(
        environment.get("AIRFLOW__LOGGING__BASE_LOG_FOLDER") or Path(environment["AIRFLOW_HOME"]) / "logs"
    )
    removed = remove_files(logs, now - settings.keep_logs)
    log.info("%s: files older than %s removed: %d", logs, written(settings.keep_logs), removed)
    conf = Layout.of(settings).spark_conf
    # In a container it is another one, and what this needs is not installed.
    if environment["SPARK_CONF_DIR"] == str(conf):
        from headrace.local.embedded import spark  # noqa: PLC0415

        spark.tidy(conf, now - UNITS["day"])
    command = [sys.executable, "-m", "headrace.airflow.old_rows", str(now - settings.keep_runs)]
    done = subprocess.run(
        command, env=dict(environment), capture_output=True, text=True, check=False, timeout=ROWS_TIMEOUT
    )
    if done.returncode:
        log.error(
            "Airflow's database: old rows were not removed; the next round tries again: %s",
            done.stderr.strip()[-2000:],
        )
    else:
        log.info("Airflow's database: rows of runs older than %s removed", written(settings.keep_runs))


def remove_files(folder: Path, before: float) -> int:
    """Remove the files below a folder that were last written before a moment, and folders empty since then.

    The moment is in seconds since 1970.

    Returns how many files. A folder whose last file goes now goes with it, unless something was made in it
    since: a run may be about to write.
    """
    if not folder.is_dir():
        return 0
    with os.scandir(folder) as inside:
        return sum(_remove(each, before)[0] for each in list(inside))


def _remove(entry: os.DirEntry[str], before: float) -> tuple[int, bool]:
    """Remove what is old in an entry of a folder; how many files, and whether the entry is gone."""
    try:
        was_old = entry.stat(follow_symlinks=False).st_mtime < before
        if not entry.is_dir(follow_symlinks=False):
            if was_old:
                Path(entry.path).unlink()
            return int(was_old), was_old
        with os.scandir(entry.path) as inside:
            found = [_remove(each, before) for each in list(inside)]
        is_empty = was_old and all(gone for _, gone in found)
        if is_empty:
            Path(entry.path).rmdir()
        return sum(count for count, _ in found), is_empty
    except OSError:  # written to, or removed, at this moment
        return 0, False


if __name__ == "__main__":
    main()
