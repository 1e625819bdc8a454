"""The jars that no wheel brings: the broker's, and those of Spark's Kafka connector.

`ivy/` lists them and what each must be.

They are fetched once with Ivy, which comes with pyspark. Jars that were put into place by hand do as well, if
they are the right ones.
"""

import hashlib
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from headrace.errors import UnavailableError
from headrace.local.client.console import Say
from headrace.local.embedded import spark
from headrace.local.install import files, java

IVY = Path(__file__).parent / "ivy"
SUMS = IVY / "jars.sha256"
MEGABYTES = 55
PATTERN = "[conf]/[artifact]-[revision].[ext]"


def expected() -> dict[str, str]:
    """Return the sha256 of each jar by its path, such as `broker/kafka_2.13-4.4.0.jar`."""
    lines = (line.split() for line in SUMS.read_text().splitlines())
    return {path: digest for digest, path in lines}


def connector_version() -> str:
    """Return the version of Spark that the connector is for."""
    name = "connector/spark-sql-kafka-0-10_2.13-"
    return next(path.removeprefix(name).removesuffix(".jar") for path in expected() if path.startswith(name))


def wrong(folder: Path) -> list[str]:
    """Return which jars in `folder` are absent or are not what they must be."""
    return [path for path, digest in expected().items() if _digest(folder / path) != digest]


def class_path(folder: Path, kind: str) -> str:
    """Return the jars of a kind, `broker` or `connector`, for `-cp`."""
    return ":".join(str(folder / path) for path in expected() if path.startswith(f"{kind}/"))


def prepare(folder: Path, java_home: Path, environment: Mapping[str, str], say: Say) -> None:
    """Fetch the jars into `folder` unless the right ones are there.

    Raises `UnavailableError` with the way out.
    """
    bad = wrong(folder)
    if not bad:
        return
    for path in bad:
        if (folder / path).exists():
            say.line(f"{folder / path} is damaged (its sha256 is another); fetching it again.")
    say.line(f"Fetching {len(expected())} jars for Kafka and Spark's connector, about {MEGABYTES} MB ...")
    with files.replacing(folder) as made:
        _fetch(made, java_home, environment, say)
        bad = wrong(made)
        if bad:
            raise UnavailableError(
                f"{bad[0]} is not what {SUMS.name} says it must be (its sha256 is another). Something between here and the registry "
                f"changes files, or serves others; put the right file into {folder / bad[0]}, or try again elsewhere."
            )


def _fetch(folder: Path, java_home: Path, environment: Mapping[str, str], say: Say) -> None:
    cache = folder / "cache"
    cache.mkdir()
    log = folder / "ivy.log"
    command = [
        str(java_home / "bin" / "java"),
        *java.network_options(environment, cache / "trust.p12"),
        "-jar",
        str(_ivy_jar()),
        "-warn",
    ]
    command += ["-settings", str(IVY / "ivysettings.xml"), "-cache", str(cache), "-ivy", str(IVY / "ivy.xml")]
    command += ["-retrieve", str(folder / PATTERN)]
    with log.open("wb") as out:
        ivy = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            with say.progress("jars", len(expected())) as progress:
                while ivy.poll() is None:
                    progress(sum(1 for _ in cache.glob("**/*.jar")))
                    time.sleep(0.2)
        finally:
            ivy.kill()
            ivy.wait()
    if ivy.returncode != 0:
        raise UnavailableError(_diagnosis(log.read_text(errors="replace"), folder.parent / "jars"))
    shutil.rmtree(cache)
    log.unlink()


def _ivy_jar() -> Path:
    found = sorted(spark.pyspark_folder().glob("jars/ivy-*.jar"))
    if not found:
        raise UnavailableError(
            "pyspark is not installed whole (its Ivy jar is missing); remove .venv and run make again."
        )
    return found[0]


def _diagnosis(log: str, folder: Path) -> str:
    lines = log.splitlines()
    if any(
        sign in log
        for sign in (
            "UnknownHost",
            "ConnectException",
            "SocketTimeout",
            "Connection refused",
            "NoRouteToHost",
            "SSLHandshake",
        )
    ):
        causes = [
            line.strip(": \t") for line in lines if "Exception" in line or "Server access error" in line
        ]
        what = "Maven Central is not reachable"
    else:
        causes = [
            line.strip(": \t")
            for line in lines
            if "UNRESOLVED" in line or "not found" in line or "No space" in line or "ERROR" in line
        ]
        what = "The jars could not be fetched"
    cause = f" ({causes[0]})" if causes else f":\n{log[-2000:]}"
    return f"{what}{cause}. Check the network and proxy (HTTPS_PROXY, SSL_CERT_FILE) and run it again, or put the files of {SUMS} into {folder}."


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
