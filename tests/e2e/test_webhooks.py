"""A webhook endpoint receives notifications of the running stack, and verifies them with a standard library."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from deeplens.access.scopes import ADMIN
from deeplens.bootstrap.container import Container

from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, eventually, new_client, picture
from tests.harness.webhook_endpoint import Endpoint

TENANT = "tenant_listening"
WEBHOOKS = f"/tenants/{TENANT}/webhooks"


@pytest.fixture(scope="module")
def admin(stack: Stack, parts: Container) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": parts.api_keys.create(None, "operator", (ADMIN,))}
    with httpx.Client(base_url=f"{stack.api_url}/v1/admin", headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def listening(stack: Stack, parts: Container) -> TenantClient:
    return new_client(stack, parts, TENANT, "nfs")


def test_an_endpoint_is_told_of_completed_and_failed_images(
    admin: httpx.Client, listening: TenantClient, endpoint: Endpoint
) -> None:
    made = admin.post(WEBHOOKS, json={"url": endpoint.url, "events": ["image.completed", "image.failed"]})
    assert made.status_code == 201, made.text
    hook, secret = f"{WEBHOOKS}/{made.json()['webhookId']}", made.json()["secret"]
    assert admin.post(f"{hook}/ping").status_code == 202
    eventually(lambda: [message["type"] for message in endpoint.messages(secret)] == ["webhook.ping"])

    def told() -> set[str]:
        return {message["data"].get("imageId", "") for message in endpoint.messages(secret)}

    # Stages know of the webhook ten seconds later at the most: images until one is told of.
    seeds = iter(range(3000, 3200))

    def one_more_is_told() -> bool:
        listening.completed(picture(next(seeds)))
        return bool(told() - {""})

    eventually(one_more_is_told)
    image_id = listening.completed(picture(3200))
    eventually(lambda: image_id in told())

    def states() -> list[str]:
        return [delivery["state"] for delivery in admin.get(f"{hook}/deliveries").json()["deliveries"]]

    eventually(lambda: set(states()) == {"delivered"})
    assert len(endpoint.messages(secret)) == len(endpoint.heard) == len(states())
    admin.delete(hook)


def test_a_message_that_was_refused_is_sent_again_on_demand(
    admin: httpx.Client, listening: TenantClient, endpoint: Endpoint
) -> None:
    endpoint.status = 500
    made = admin.post(WEBHOOKS, json={"url": endpoint.url, "events": ["image.failed"]}).json()
    hook = f"{WEBHOOKS}/{made['webhookId']}"
    delivery = admin.post(f"{hook}/ping").json()["deliveryId"]

    def shown() -> dict[str, Any]:
        return dict(admin.get(f"{hook}/deliveries").json()["deliveries"][0])

    eventually(lambda: shown()["lastStatus"] == 500)
    assert (shown()["state"], admin.get(hook).json()["failures"]) == ("waiting", 1)
    endpoint.status = 204
    assert admin.post(f"{hook}/deliveries/{delivery}/redeliver").status_code == 202
    eventually(lambda: shown()["state"] == "delivered")
    assert {headers["webhook-id"] for headers, _ in endpoint.heard} == {delivery}
    assert len({body for _, body in endpoint.heard}) == 1
    admin.delete(hook)


def test_an_endpoint_inside_is_refused(admin: httpx.Client) -> None:
    for url in ("https://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "http://[::1]/"):
        answer = admin.post(WEBHOOKS, json={"url": url, "events": ["image.failed"]})
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/endpoint-refused"), url
