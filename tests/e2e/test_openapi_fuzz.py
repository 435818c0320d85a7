"""schemathesis over all three OpenAPI documents: no 5xx, no undocumented status, answers that fit their schema."""

import httpx
import pytest
import schemathesis
from deeplens.access.scopes import ADMIN, READ, WRITE
from deeplens.bootstrap.container import Container
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from local.stack.stack import Stack
from tests.e2e.conftest import new_client, picture

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = [3, pytest.param(40, marks=pytest.mark.long)]
LEFT_OUT = {
    ("POST", "/v1/admin/tenants"),
    ("DELETE", "/v1/admin/tenants/{tenant_id}"),
    ("POST", "/v1/admin/tenants/{tenant_id}/suspend"),
    ("DELETE", "/v1/images/{image_id}"),
}
"""A good request makes a tenant, which takes seconds, or takes away what the others are about."""


@pytest.fixture(scope="module")
def keys(stack: Stack, parts: Container) -> dict[str, str]:
    client = new_client(stack, parts, "tenant_fuzz", "nfs")
    return {
        "image": client.completed(picture(8200)),
        "/v1/openapi.json": parts.api_keys.create("tenant_fuzz", "fuzz", (READ, WRITE, ADMIN)),
        "/v1/admin/openapi.json": parts.api_keys.create(None, "fuzz", (ADMIN,)),
        "/connect/openapi.json": "",
    }


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("document", ["/v1/openapi.json", "/v1/admin/openapi.json", "/connect/openapi.json"])
def test_whatever_is_sent_the_answer_is_documented(
    stack: Stack, keys: dict[str, str], document: str, examples: int
) -> None:
    schema = schemathesis.openapi.from_url(f"{stack.api_url}{document}")
    headers = {"X-API-Key": keys[document]} if keys[document] else {}
    there = {"tenant_id": "tenant_fuzz", "image_id": keys["image"]}
    operations, answered = 0, 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if (operation.method.upper(), operation.path) in LEFT_OUT:
            continue
        operations += 1

        @given(case=operation.as_strategy())
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=examples == EXAMPLES[0],
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case: schemathesis.Case) -> None:
            nonlocal answered
            case.path_parameters.update({name: there[name] for name in there if name in case.path_parameters})
            case.call_and_validate(base_url=stack.api_url, headers=headers, checks=CHECKS, timeout=30)
            answered += 1

        check()
    assert operations >= 5
    assert answered >= operations
    assert httpx.get(f"{stack.api_url}/v1/health").status_code == 200
