"""The compose stack as seen from the host: whether it is up, its login, and what may be wrong with it."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

from headrace.errors import Code, UnavailableError
from headrace.kafka.client import Kafka
from headrace.local.embedded import ports
from headrace.settings import ROOT, Settings

ENV = ROOT / ".env"
LOCK = ROOT / "docker" / "requirements.lock"
BUILT_FROM = "/opt/headrace/requirements.lock"
"""Where Airflow's image keeps the lock that it was built from."""
NEEDED = (
    "HEADRACE_UID",
    "POSTGRES_PASSWORD",
    "KAFKA_PASSWORD",
    "AIRFLOW_FERNET_KEY",
    "AIRFLOW_SECRET_KEY",
    "AIRFLOW_JWT_SECRET",
    "AIRFLOW_PASSWORD",
)
"""What docker/up writes into .env."""

ONCE = frozenset({"airflow-init", "connections"})
"""The services that run to their end; all others go on running."""

INTERNAL = "kafka:29092"
"""Kafka's listener for containers."""

REACH_EACH = """
import sys
from headrace.errors import HeadraceError
from headrace.kafka.client import Kafka
from headrace.local.connections import kafka_config
from headrace.settings import Settings
try:
    Kafka(kafka_config(Settings.from_environment()), 3.0).check_listeners()
except HeadraceError as error:
    sys.exit(str(error))
"""
"""Run in a container: a client that asks one broker for its topics never goes to the addresses that the
others, or it, advertise."""

ASKED_FOR = 3.0
"""Seconds for Kafka to answer a health check."""

DOCKER_TIMEOUT = 60
"""Seconds for one command of docker's."""


def is_up(settings: Settings) -> bool:
    """Say whether a compose stack of this checkout serves the UI's port.

    As far as that is known without asking docker.
    """
    return ENV.is_file() and ports.answers(settings.ui_port)


def secrets() -> dict[str, str]:
    """Return the variables in .env; nothing if there is no such file."""
    lines = ENV.read_text().splitlines() if ENV.is_file() else []
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def services() -> list[dict[str, Any]]:
    """Return what docker says of each container, also of one that has ended.

    Raises `UnavailableError` if it can't be asked.
    """
    answer = docker("compose", "ps", "--all", "--format", "json")
    # One list, before compose 2.21; a line for each container since.
    found: list[dict[str, Any]] = (
        json.loads(answer) if answer.startswith("[") else [json.loads(line) for line in answer.splitlines()]
    )
    return found


def absent(found: Iterable[dict[str, Any]]) -> list[str]:
    """Return the services of docker-compose.yml that have no container among those."""
    return sorted(
        set(docker("compose", "config", "--services").split()) - {service["Service"] for service in found}
    )


def state(service: dict[str, Any]) -> str:
    """Return a service's health, its state without a health check, or "done" where it runs once."""
    if service["Service"] in ONCE and service["State"] == "exited" and service["ExitCode"] == 0:
        return "done"
    return str(
        service["Health"] if service["State"] == "running" and service.get("Health") else service["State"]
    )


def is_well(service: dict[str, Any]) -> bool:
    """Say whether a service is as it should be."""
    return state(service) in {"healthy", "running", "done"}


def variable(service: str, name: str) -> str | None:
    """Return a variable of a service's environment; nothing if it has none, or docker can't be asked."""
    try:
        return docker("compose", "exec", "-T", service, "printenv", name).strip()
    except UnavailableError:
        return None


def docker(*arguments: str) -> str:
    """Run a docker command in the checkout; returns what it prints.

    Raises `UnavailableError` with what it says on failure.
    """
    if shutil.which("docker") is None:
        raise UnavailableError(
            "Docker is not installed (there is no command `docker`): https://docs.docker.com/engine/install/.",
            code=Code.NO_DOCKER,
        )
    try:
        done = subprocess.run(
            ["docker", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=DOCKER_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(
            f"`docker {' '.join(arguments[:2])}` does not answer within {DOCKER_TIMEOUT} s."
        ) from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it says nothing"]
        raise UnavailableError(f"`docker {' '.join(arguments[:3])}` failed: {said[0]}")
    return done.stdout


def check_engine(_: Settings) -> str:
    """Docker, its engine, and compose."""
    compose = docker("compose", "version", "--short").strip()
    try:
        engine = docker("version", "--format", "{{.Server.Version}}").strip()
    except UnavailableError as error:
        raise UnavailableError(
            f"the engine does not answer; is it running, and are you in the group docker? ({error})"
        ) from error
    return f"engine {engine}, compose {compose}"


def check_env(_: Settings) -> str:
    """The secrets: there, complete, and readable by the user alone."""
    if not ENV.is_file():
        raise UnavailableError(f"{ENV} is missing; `make compose-up` writes it, once.")
    if missing := [name for name in NEEDED if not secrets().get(name)]:
        raise UnavailableError(
            f"{ENV} lacks {', '.join(missing)}; put them back from a copy, or remove the file and its volumes and start again.",
            code=Code.SECRETS,
        )
    if ENV.stat().st_mode & 0o077:
        raise UnavailableError(f"others can read {ENV}; chmod 600 it.", code=Code.SECRETS)
    return f"{len(NEEDED)} variables in {ENV}, readable by you only"


def check_versions(_: Settings) -> str:
    """The images have the embedded stack's versions, and ours was built from the present lock."""
    wanted = versions()
    configured = json.loads(docker("compose", "config", "--format", "json"))["services"]
    built = configured["airflow-init"]["build"]["args"]
    images = {
        "kafka": configured["kafka"]["image"],
        "spark": built["SPARK_IMAGE"],
        "airflow": built["AIRFLOW_IMAGE"],
    }
    if wrong := [
        f"{image} is not {name} {wanted[name]}"
        for name, image in images.items()
        if not _is_of(image, wanted[name])
    ]:
        raise UnavailableError(
            f"{'; '.join(wrong)}. Change docker-compose.yml, or the variable that names another image."
        )
    airflow = configured["scheduler"]["image"]
    found = docker(
        "run", "--rm", "--network", "none", "--entrypoint", "sha256sum", airflow, BUILT_FROM
    ).split()[0]
    if found != hashlib.sha256(LOCK.read_bytes()).hexdigest():
        raise UnavailableError(
            f"the image {airflow} was built from another {LOCK.name}; `make compose-up` rebuilds it.",
            code=Code.IMAGE_OTHER,
        )
    return ", ".join(f"{name} {version}" for name, version in wanted.items())


def check_services(_: Settings) -> str:
    """Every service is up and healthy."""
    found = services()
    if not found:
        raise UnavailableError(
            "not running; `docker compose up -d --wait` starts it.", code=Code.SERVICE_DOWN
        )
    if bad := [f"{service['Service']} is {state(service)}" for service in found if not is_well(service)]:
        raise UnavailableError(f"{', '.join(bad)}; `docker compose logs SERVICE` says why.")
    if missing := absent(found):
        raise UnavailableError(
            f"without a container: {', '.join(missing)}; `docker compose up -d --wait` starts what is missing.",
            code=Code.SERVICE_DOWN,
        )
    return f"{len(found)} are well"


def check_external(settings: Settings) -> str:
    """The listener for the host: what Kafka advertises there can be reached from here."""
    if not ports.answers(settings.kafka_port):
        raise UnavailableError(
            f"nothing listens on {settings.bootstrap_servers}; is the service kafka up, and published on this port?",
            code=Code.KAFKA_UNREACHABLE,
        )
    Kafka(settings.kafka_config, ASKED_FOR).check_listeners()
    return f"Kafka at {settings.bootstrap_servers} answers at the address that it advertises"


def check_internal(_: Settings) -> str:
    """The listener for containers: what Kafka advertises there can be reached from a container."""
    try:
        docker("compose", "exec", "-T", "scheduler", "python", "-c", REACH_EACH)
    except UnavailableError as error:
        raise UnavailableError(f"from within the service scheduler: {error}") from error
    return f"Kafka at {INTERNAL} answers containers at the address that it advertises"


CHECKS = {
    "docker": check_engine,
    "secrets": check_env,
    "versions": check_versions,
    "services": check_services,
    "EXTERNAL": check_external,
    "INTERNAL": check_internal,
}


def versions() -> dict[str, str]:
    """Return the versions of the embedded stack, which hold for the images as well.

    They stand in the lock, and in the list of jars beside it.
    """
    from headrace.local.install import jars  # noqa: PLC0415  what it needs of the embedded stack is in no container

    pins = dict(re.findall(r"^([a-z-]+)==([\w.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    broker = next(
        match[1]
        for path in jars.expected()
        if (match := re.fullmatch(r"broker/kafka_2\.13-([\d.]+)\.jar", path))
    )
    return {"kafka": broker, "spark": pins["pyspark"], "airflow": pins["apache-airflow"]}


def _is_of(image: str, version: str) -> bool:
    tag = image.partition("@")[0].rpartition(":")[2]  # a digest may follow
    return tag == version or tag.startswith(f"{version}-")
