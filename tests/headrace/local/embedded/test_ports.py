"""Ports that are taken."""

from types import SimpleNamespace

import psutil
import pytest

from headrace.errors import UnavailableError
from headrace.local.embedded import ports
from headrace.local.embedded.layout import MARK
from headrace.local.embedded.ports import Port


def test_every_taken_port_is_named_with_its_holder_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each."""
    listening = SimpleNamespace(status=psutil.CONN_LISTEN, laddr=SimpleNamespace(port=9092), pid=42)
    monkeypatch.setattr(ports, "is_taken", lambda number: number != 9093)
    another = SimpleNamespace(status=psutil.CONN_LISTEN, laddr=SimpleNamespace(port=8081), pid=43)
    monkeypatch.setattr(psutil, "net_connections", lambda _: [listening, another])
    marks = {42: {}, 43: {MARK: "/other/.headrace/services"}}
    monkeypatch.setattr(
        psutil,
        "Process",
        lambda pid: SimpleNamespace(pid=pid, name=lambda: "java", environ=lambda: marks[pid]),
    )
    with pytest.raises(UnavailableError) as caught:
        ports.require_free(
            [
                Port(9092, "Kafka", "K"),
                Port(9093, "Kafka's controller", "K"),
                Port(8080, "Airflow", "U"),
                Port(8081, "Airflow's tasks", "U"),
            ]
        )
    assert str(caught.value).splitlines() == [
        "Port 9092 (Kafka) is in use by java (pid 42); stop that, or set K.",
        "Port 8080 (Airflow) is in use; stop that, or set U.",
        "Port 8081 (Airflow's tasks) is in use by java (pid 43), which is of the stack in /other/.headrace; stop that, or set U.",
    ]
