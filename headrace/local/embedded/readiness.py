"""When the stack's services are ready."""

import time
from collections.abc import Collection
from datetime import datetime

import httpx

from headrace.errors import BrokerError, UnavailableError
from headrace.kafka.client import Kafka
from headrace.local.embedded import airflow, ports
from headrace.local.embedded.services import State, Supervisor
from headrace.settings import Settings

READY_TIMEOUT = 180.0
"""Seconds until every service must be ready; it takes about 20 on two idle cores."""


def wait_until_ready(settings: Settings, supervisor: Supervisor, names: Collection[str]) -> None:
    """Wait until these services answer.

    Raises `UnavailableError` with the end of the log of what does not.
    """
    deadline = time.monotonic() + READY_TIMEOUT

    def unanswered(states: list[State]) -> list[str]:
        return [name for name in waiting_for(settings, states) if name in names]

    waiting = unanswered(supervisor.states())
    while waiting:
        states = {state.name: state for state in supervisor.states()}
        if not states:
            raise UnavailableError(
                f"The supervisor is gone; its log is {supervisor.folder / 'supervisor.log'}."
            )
        failed = [state for state in states.values() if state.has_failed]
        if failed or time.monotonic() > deadline:
            one = failed[0] if failed else states[waiting[0]]
            why = "does not start" if failed else f"is not ready after {READY_TIMEOUT:.0f} s"
            raise UnavailableError(
                f"{one.name} {why}; the end of {one.log}:\n{tail(one.log.read_text(errors='replace'))}"
            )
        time.sleep(0.25)
        waiting = unanswered(list(states.values()))


def waiting_for(settings: Settings, states: list[State]) -> list[str]:
    """Name the services that do not answer yet."""
    waiting = [state.name for state in states if not state.has_process]
    if not broker_answers(settings):
        waiting.append(KAFKA)
    if not ports.answers(airflow.execution_port(settings)):
        waiting.append(airflow.EXECUTION_API)
    try:
        health = (
            httpx.get(f"{settings.ui_url}/api/v2/monitor/health", timeout=5, trust_env=False)
            .raise_for_status()
            .json()
        )
    except (httpx.HTTPError, ValueError):
        return sorted({*waiting, *airflow.SERVICES})
    waiting += [state.name for state in states if state.name in airflow.BEATING and not beats(health, state)]
    return sorted(set(waiting))


def broker_answers(settings: Settings) -> bool:
    """Say whether the broker answers a question.

    An open port says nothing, the system accepts connections for a frozen process.
    """
    try:
        Kafka({"bootstrap.servers": settings.bootstrap_servers}, HEALTH_TIMEOUT).check_listeners()
    except BrokerError:
        return False
    return True


def beats(health: dict[str, dict[str, str | None]], state: State) -> bool:
    """Say whether Airflow counts a service as healthy by this process's heartbeat, not an earlier one's."""
    name = state.name.replace("-", "_")
    part = health.get(name) or {}
    heartbeat = part.get(f"latest_{name}_heartbeat")
    return (
        part.get("status") == "healthy"
        and heartbeat is not None
        and datetime.fromisoformat(heartbeat) >= state.since
    )


KAFKA = "kafka"
HEALTH_TIMEOUT = 3.0
"""Seconds for the broker to answer a health check."""


def tail(text: str, lines: int = 20) -> str:
    """The last lines of a text."""
    return "\n".join(text.splitlines()[-lines:])
