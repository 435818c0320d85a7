"""Marks by folder: what needs real parts, what is run rarely, and which tests one process runs after each other."""

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from tests.harness.grouping import GROUPS_FILE, GroupScheduling, tell_groups

_FILE = pytest.StashKey[Path]()
HERE = Path(__file__).parent
# Groups in the order in which `make test` begins with them: those that take longest come first.
GROUPS = ("stack", "second stack", "database", "chaos", "broker", "inference", "aws")
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


def pytest_configure_node(node: Any) -> None:
    node.workerinput[GROUPS_FILE] = str(_groups_file(node.config))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    return GroupScheduling(config, log, _groups_file(config))


def _groups_file(config: pytest.Config) -> Path:
    if _FILE not in config.stash:
        config.stash[_FILE] = Path(mkdtemp(prefix="deeplens-tests-")) / "groups.json"
    return config.stash[_FILE]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        kind = item.path.relative_to(HERE).parts[0]
        item.add_marker(kind)
        if kind in ("integration", "e2e") and not group_of(item):
            item.add_marker(pytest.mark.xdist_group(_shared_group(item)))
    items.sort(key=_turn)
    if hasattr(config, "workerinput"):
        tell_groups(config.workerinput, {item.nodeid: group for item in items if (group := group_of(item))})


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop what a group shares when its process goes on to other tests: even idle, it would take time from them."""
    if nextitem is not None and (group := group_of(item)) and group != group_of(nextitem):
        item.session._setupstate.teardown_exact(None)


def group_of(item: pytest.Item) -> str:
    return next((str(mark.args[0]) for mark in item.iter_markers("xdist_group")), "")


def _shared_group(item: pytest.Item) -> str:
    """Named after what a test shares with others, or after its file."""
    fixtures = getattr(item, "fixturenames", ())
    if "stack" not in fixtures and "postgres" in getattr(getattr(item, "callspec", None), "params", {}).values():
        return "database"  # A fixture that asks for its server by name.
    return next((group for name, group in SHARED.items() if name in fixtures), str(item.path.relative_to(HERE)))


def _turn(item: pytest.Item) -> int:
    group = group_of(item)
    if group in GROUPS:
        return GROUPS.index(group)
    # Tests without a group need no parts: they fill the time that is left.
    return len(GROUPS) + (not group)
