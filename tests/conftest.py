"""Marks by folder: what needs real parts, what is run rarely, and which tests one process runs after each other."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Fixtures that take seconds to start, and the group of their tests; the longest group first, as `make test` begins so.
SHARED = {
    "stack": "stack",
    "chaos": "chaos",
    "platform_url": "database",
    "kafka": "broker",
    "localstack": "aws",
    "server": "inference",
}


def pytest_configure(config: pytest.Config) -> None:
    for name in ("unit", "contract", "integration", "e2e"):
        config.addinivalue_line("markers", f"{name}: tests below tests/{name}")
    config.addinivalue_line("markers", "long: searches deeper or waits longer; `make test-long` runs these alone")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(item.path.relative_to(HERE).parts[0])
        if group := _group(item):
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_turn)


def _group(item: pytest.Item) -> str | None:
    """Tests of one group run in one process, so that what they share is started once and they do not disturb it."""
    if item.path.is_relative_to(HERE / "unit") or item.path.is_relative_to(HERE / "contract"):
        return None
    shared = next((SHARED[name] for name in SHARED if name in getattr(item, "fixturenames", ())), None)
    return shared or item.path.stem.removeprefix("test_")


def _turn(item: pytest.Item) -> int:
    """Long groups begin first; what needs no parts fills the gaps."""
    groups = [mark.args[0] for mark in item.iter_markers("xdist_group")]
    if not groups:
        return len(SHARED) + 1
    return list(SHARED.values()).index(groups[0]) if groups[0] in SHARED.values() else len(SHARED)
