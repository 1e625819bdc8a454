"""Look at everything that a stack needs; each check with the way out."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version

from headrace.errors import HeadraceError, UnavailableError
from headrace.local import compose
from headrace.local.embedded import credentials, ports, stack
from headrace.local.embedded.layout import Layout
from headrace.local.install import jars, java
from headrace.preflight import check_room
from headrace.settings import Settings


@dataclass(frozen=True)
class Examined:
    """What was found of one thing; if it is not well, `text` says what to do."""

    name: str
    is_well: bool
    text: str


def examine(settings: Settings) -> Iterator[Examined]:
    """Look at what the embedded stack needs."""
    return _examine(
        settings,
        {
            "versions": _versions,
            "state": _state,
            "data": _data,
            "java": _java,
            "jars": _jars,
            "login": _login,
            "services": _services,
        },
    )


def examine_compose(settings: Settings) -> Iterator[Examined]:
    """Look at the compose stack in the same way."""
    return _examine(settings, compose.CHECKS)


def _examine(settings: Settings, checks: Mapping[str, Callable[[Settings], str]]) -> Iterator[Examined]:
    for name, check in checks.items():
        try:
            yield Examined(name, is_well=True, text=check(settings))
        except (HeadraceError, OSError) as error:
            yield Examined(name, is_well=False, text=str(error))


def _versions(_: Settings) -> str:
    pyspark, client, connector = version("pyspark"), version("pyspark-client"), jars.connector_version()
    if not pyspark == client == connector:
        raise UnavailableError(
            f"pyspark is {pyspark}, pyspark-client {client}, the Kafka connector {connector}; they must be equal. "
            f"Change pyproject.toml and {jars.IVY / 'ivy.xml'} together, or run `make up` if only .venv is old."
        )
    return f"pyspark, pyspark-client and the Kafka connector are {pyspark}"


def _state(settings: Settings) -> str:
    stack.claim(Layout.of(settings))
    free = shutil.disk_usage(settings.home).free
    return f"{settings.home}, {free / 1e9:.0f} GB free"


def _data(settings: Settings) -> str:
    return f"{settings.data}, {check_room(settings.data) / 1e9:.0f} GB free"


def _java(settings: Settings) -> str:
    home = Layout.of(settings).java_home
    if settings.java_home is None and not (home / "bin" / "java").is_file():
        raise UnavailableError("the pinned Java is not unpacked yet; `make up` does that.")
    return f"{java.check(home)} at {home}"


def _jars(settings: Settings) -> str:
    folder = Layout.of(settings).jars
    wrong = jars.wrong(folder)
    if wrong:
        raise UnavailableError(
            f"{len(wrong)} of {len(jars.expected())} are absent or damaged, the first is {folder / wrong[0]}; `make up` fetches them."
        )
    return f"{len(jars.expected())} are what {jars.SUMS.name} says"


def _login(settings: Settings) -> str:
    path = Layout.of(settings).login
    if not path.is_file():
        raise UnavailableError("there is none yet; `make up` makes one.")
    if path.stat().st_mode & 0o077:
        raise UnavailableError(f"others can read {path}; chmod 600 it.")
    return f"{credentials.USER}, password in {path}"


def _services(settings: Settings) -> str:
    now = stack.status(settings)
    if now.left_behind:
        raise UnavailableError(
            f"the supervisor is gone and left {now.left_behind} processes behind; `{settings.make('down')}` stops them."
        )
    if not now.services:
        ports.require_free(stack.needed_ports(settings))
        return "not running, and their ports are free; `make up` starts them"
    if now.is_frozen:
        raise UnavailableError(stack.frozen(settings, now.services))
    if now.waiting:
        raise UnavailableError(
            f"not ready: {', '.join(now.waiting)}; their logs: {Layout.of(settings).log('*')}"
        )
    restarted = [service.restarted for service in now.services if service.restarted]
    return "; ".join([f"{len(now.services)} are ready, Airflow's UI is {settings.ui_url}", *restarted])
