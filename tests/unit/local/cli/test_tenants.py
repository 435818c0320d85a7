"""Commands about tenants and keys go through the Admin API's routes, with its rules and its audit log."""

import json
from typing import Any

import pytest

from local.cli import admin, keys
from tests.harness.api import World
from tests.harness.cli import deeplens

TENANT = "tenant_acme"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    for module in (admin, keys):
        monkeypatch.setattr(module, "current_container", lambda: made)
    return made


def ran(*arguments: str) -> Any:
    ended = deeplens(*arguments, "--json")
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


def refused(*arguments: str) -> str:
    ended = deeplens(*arguments)
    assert ended.exit_code == 1, ended.output
    return ended.output


def test_tenants_are_listed_and_shown(world: World) -> None:
    listed = ran("tenants", "list", "--status", "active")
    assert TENANT in {tenant["tenantId"] for tenant in listed}
    assert len(ran("tenants", "list", "--limit", "1")) == 1
    assert TENANT in deeplens("tenants", "list").output
    assert "active" in deeplens("tenants", "show", TENANT).output
    assert "There is no tenant" in refused("tenants", "show", "tenant_nobody")
    assert "is no id" in refused("tenants", "show", "../tenants")
    assert "is no limit" in refused("tenants", "limits", TENANT, "--max-images", "many")
    assert "repeat the command with --yes" in refused("tenants", "delete", TENANT)
    assert world.audit.entries == []


def test_what_has_no_route_is_audited_too(world: World) -> None:
    key = deeplens("keys", "create").stdout.strip()
    assert ran("keys", "revoke", key.split("_")[1]) == {"revoked": key.split("_")[1]}
    assert "no such key" in refused("keys", "revoke", "0f3a9b1c2d4e")
    expected = [("create", "done"), ("revoke", "done"), ("revoke", "failed: Exit")]
    assert world.audit.entries == [
        entry
        for name, end in expected
        for entry in ((f"deeplens keys {name}", "begun"), (f"deeplens keys {name}", end))
    ]
