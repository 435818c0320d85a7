"""Marks by folder: what needs real parts, what is run rarely, and which tests one process runs after each other."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Groups in the order in which `make test` begins with them: those that take longest come first.
GROUPS = ("stack", "second stack", "chaos", "database", "broker", "inference", "aws")
SHARED = {
    "chaos": "chaos",
    "stack": "stack",
    "platform_url": "database",
    "kafka": "broker",
    "localstack": "aws",
    "server": "inference",
}
"""Fixtures that take seconds to start, and the group whose process starts them."""


def pytest_configure(config: pytest.Config) -> None:
    for name in ("unit", "contract", "integration", "e2e"):
        config.addinivalue_line("markers", f"{name}: tests below tests/{name}")
    config.addinivalue_line("markers", "long: searches deeper or waits longer; `make test-long` runs these alone")
    config.addinivalue_line("markers", "xdist_group(name): tests that one process runs after each other")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = item.path.relative_to(HERE).parts[0]
        item.add_marker(kind)
        if kind in ("integration", "e2e") and not group_of(item):
            item.add_marker(pytest.mark.xdist_group(_shared_group(item)))
    items.sort(key=_turn)


def group_of(item: pytest.Item) -> str:
    return next((str(mark.args[0]) for mark in item.iter_markers("xdist_group")), "")


def _shared_group(item: pytest.Item) -> str:
    """Named after what a test shares with others, or after its file."""
    fixtures = getattr(item, "fixturenames", ())
    return next((group for name, group in SHARED.items() if name in fixtures), item.path.stem)


def _turn(item: pytest.Item) -> int:
    group = group_of(item)
    if group in GROUPS:
        return GROUPS.index(group)
    # Tests without a group need no parts: they fill the time that is left.
    return len(GROUPS) + (not group)
