"""Marks by folder: what needs real parts and what must not touch the network."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    for name in ("unit", "contract", "integration", "e2e"):
        config.addinivalue_line("markers", f"{name}: tests below tests/{name}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(item.path.relative_to(HERE).parts[0])
