"""Every list that the APIs answer has an end: a page with a limit, or something of which there are few."""

from typing import Any

import pytest

from tests.contract.compatibility.documents import APPS, openapi

FEW = {
    "/v1/admin/dead-letters/groups": "LIMIT in its query",
    "/v1/admin/parts": "one per part of the platform",
    "/v1/admin/signing-keys": "one per rotation, until its tokens have expired",
    "/v1/admin/tenants/{tenant_id}/budgets": "one per metric",
    "/v1/admin/tenants/{tenant_id}/models": "the last 100",
    "/v1/admin/tenants/{tenant_id}/stores": "MAX_STORES",
    "/v1/admin/tenants/{tenant_id}/webhooks": "MAX_WEBHOOKS",
    "/v1/admin/tenants/{tenant_id}/whatsapp/chats": "MAX_CHATS",
    "/v1/admin/tenants/{tenant_id}/whatsapp/rules": "MAX_RULES",
}
"""Lists of a tenant or the platform without a limit, and why they need none."""


def unlimited_lists(document: dict[str, Any]) -> set[str]:
    """Paths that end with a plural, belong to a tenant or the platform, answer a list, and take no ``limit``."""
    found = set()
    for path, methods in document["paths"].items():
        operation = methods.get("get")
        if operation is None or not path.endswith("s") or "{" in path.replace("{tenant_id}", ""):
            continue
        schema = operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
        fields = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], {})
        lists = any(field.get("type") == "array" for field in fields.get("properties", {}).values())
        parameters = {parameter["name"] for parameter in operation.get("parameters", [])}
        if lists and "limit" not in parameters:
            found.add(path)
    return found


@pytest.mark.parametrize("name", APPS)
def test_every_list_has_a_limit_or_few_items(name: str) -> None:
    assert unlimited_lists(openapi(name)) - FEW.keys() == set()


def test_no_exception_is_left_over() -> None:
    assert FEW.keys() - {path for name in APPS for path in unlimited_lists(openapi(name))} == set()
