"""A quota refuses uploads when it is full and accepts them after a deletion; each tenant has its own rate limit."""

import httpx
import pytest
from deeplens.bootstrap.container import Container
from deeplens.tenants.limits import ResourceLimits

from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, eventually, new_client, picture

# A second running stack shares the end-to-end tests: most of their time is waiting.
pytestmark = pytest.mark.xdist_group("second stack")


@pytest.fixture
def limited(stack: Stack, parts: Container) -> TenantClient:
    """Two images at most; set before anybody has read the tenant."""
    client = new_client(stack, parts, "tenant_limited", "nfs")
    parts.tenant_records.set_limits("tenant_limited", ResourceLimits(max_images=2))
    return client


def upload(client: TenantClient, seed: int, key: str | None = None) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return client.http.post("/images", files={"file": ("photo.jpg", picture(seed))}, headers=headers)


def test_a_full_quota_refuses_until_an_image_is_deleted(limited: TenantClient, other: TenantClient) -> None:
    first, second = upload(limited, 70), upload(limited, 71)
    refused = upload(limited, 72, key="third")

    assert [first.status_code, second.status_code, refused.status_code] == [202, 202, 413]
    assert refused.json()["type"] == "/problems/quota-exceeded"
    assert [answer.headers["x-quota-images-remaining"] for answer in (first, second, refused)] == ["1", "0", "0"]
    for answer in (first, second):
        assert limited.until_ended(answer.json()["imageId"])["status"] == "completed"
    assert upload(other, 73).status_code == 202

    limited.http.delete(first.json()["links"]["self"].removeprefix("/v1"))

    again = eventually(lambda: upload(limited, 72, key="third"), lambda answer: answer.status_code == 202)
    assert limited.until_ended(again.json()["imageId"])["status"] == "completed"
    used = limited.http.get("/usage").json()
    assert (used["limits"]["maxImages"], used["images"]) == (2, 2)
    assert used["bytes"] == second.json()["sizeBytes"] + again.json()["sizeBytes"]
    assert used["daily"]["api.requests"][-1]["quantity"] >= 4


def test_a_rate_is_one_tenants_own(stack: Stack, parts: Container, other: TenantClient) -> None:
    hasty = new_client(stack, parts, "tenant_hasty", "nfs")
    parts.tenant_records.set_limits("tenant_hasty", ResourceLimits(requests_per_minute=3))

    refused = eventually(lambda: hasty.http.get("/images"), lambda answer: answer.status_code == 429)

    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit-policy"] == '"requests";q=3;w=60'
    assert refused.headers["ratelimit"].startswith('"requests";r=0;t=')
    assert other.http.get("/images").status_code == 200
