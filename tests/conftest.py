"""Unit tests open no sockets; tests below `integration`, and those marked `enable_socket`, use the real parts."""

from pathlib import Path

import pytest

INTEGRATION = Path(__file__).parent / "integration"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let integration tests use sockets, and run them after the unit tests."""
    for item in items:
        if INTEGRATION in item.path.parents:
            item.add_marker(pytest.mark.enable_socket)
    items.sort(key=lambda item: INTEGRATION in item.path.parents)
