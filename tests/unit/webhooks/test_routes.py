"""Webhooks over the Admin API: shown without their secrets, checked, tested, and nobody else's."""

from typing import Any

import httpx
import pytest
from deeplens.events.notifications import TenantNotification
from deeplens.webhooks.model import Answer, judge

from tests.harness.api import World

PATH = "/v1/admin/tenants/tenant_acme/webhooks"
URL = "https://93.184.215.14/hook"
WANTED = {"url": URL, "events": ["image.failed", "image.completed"]}


def added(world: World, **changes: Any) -> dict[str, Any]:
    answer = world.operator().post(PATH, json=WANTED | changes)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def test_a_secret_is_shown_once(world: World) -> None:
    made = added(world)
    assert made["secret"].startswith("whsec_")
    one, many = world.operator().get(f"{PATH}/{made['webhookId']}"), world.operator().get(PATH)
    assert made["secret"] not in one.text + many.text
    assert one.json() == many.json()["webhooks"][0]
    assert one.json()["events"] == ["image.completed", "image.failed"]
    assert world.tenants.get("tenant_acme").notified == {"image.completed", "image.failed"}


def test_a_rotation_gives_another_secret(world: World) -> None:
    made = added(world)
    rotated = world.operator().post(f"{PATH}/{made['webhookId']}/rotate")
    assert rotated.status_code == 201
    assert rotated.json()["secret"] != made["secret"]
    assert rotated.json()["previousSecretUntil"]


def test_a_webhook_is_changed_and_removed(world: World) -> None:
    made, operator = added(world), world.operator()
    path = f"{PATH}/{made['webhookId']}"
    assert operator.patch(path, json={"enabled": False}).json()["enabled"] is False
    assert world.tenants.get("tenant_acme").notified == frozenset()
    assert problem(operator.post(f"{path}/ping")) == (409, "webhook-disabled")
    changed = operator.patch(path, json={"enabled": True, "events": ["duplicates.found"]}).json()
    assert (changed["enabled"], changed["events"], changed["url"]) == (True, ["duplicates.found"], URL)
    assert operator.delete(path).status_code == 204
    assert problem(operator.get(path)) == (404, "webhook-not-found")
    assert world.tenants.get("tenant_acme").notified == frozenset()


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/", "https://169.254.169.254/latest", "http://93.184.215.14/", "https://u:p@93.184.215.14/"],
)
def test_an_endpoint_inside_is_refused(world: World, url: str) -> None:
    assert problem(world.operator().post(PATH, json=WANTED | {"url": url})) == (422, "endpoint-refused")
    made = added(world)
    changed = world.operator().patch(f"{PATH}/{made['webhookId']}", json={"url": url})
    assert problem(changed) == (422, "endpoint-refused")


@pytest.mark.parametrize(
    "wrong", [{"events": []}, {"events": ["image.seen"]}, {"url": "ftp://x.example"}, {"secret": "x"}]
)
def test_what_is_not_understood_adds_nothing(world: World, wrong: dict[str, Any]) -> None:
    assert world.operator().post(PATH, json=WANTED | wrong).status_code == 422
    assert world.webhooks.hooks == {}


def test_a_tenant_has_ten_at_most(world: World) -> None:
    for _ in range(10):
        added(world)
    assert problem(world.operator().post(PATH, json=WANTED)) == (409, "too-many-webhooks")


def test_a_ping_is_a_delivery_that_can_be_followed_and_sent_again(world: World) -> None:
    operator, path = world.operator(), f"{PATH}/{added(world)['webhookId']}"
    ping = operator.post(f"{path}/ping")
    assert (ping.status_code, ping.json()["state"], ping.json()["type"]) == (202, "waiting", "webhook.ping")
    (message,) = world.publisher.sent
    assert isinstance(message.event, TenantNotification)
    assert message.event.delivery_id == ping.json()["deliveryId"]
    now = world.clock.now()
    ((hook, delivery),) = world.webhooks.claim([ping.json()["deliveryId"]], now, now)
    answer = Answer(204)
    world.webhooks.settle(delivery, judge(hook, 1, answer, now), answer, now)
    (shown,) = operator.get(f"{path}/deliveries").json()["deliveries"]
    assert (shown["state"], shown["lastStatus"], shown["attempts"], shown["nextAt"]) == ("delivered", 204, 1, None)
    again = operator.post(f"{path}/deliveries/{delivery.id}/redeliver")
    assert (again.status_code, again.json()["state"]) == (202, "waiting")
    assert len({message.event_id for message in world.publisher.sent}) == 2
    assert problem(operator.post(f"{path}/deliveries/whd_none/redeliver")) == (404, "delivery-not-found")


def test_another_tenants_webhooks_do_not_exist(world: World) -> None:
    made = added(world)
    thief = world.administrator("tenant_other")
    own = PATH.replace("acme", "other")
    for method, path in (
        ("GET", ""),
        ("GET", f"/{made['webhookId']}"),
        ("DELETE", f"/{made['webhookId']}"),
        ("POST", f"/{made['webhookId']}/ping"),
        ("POST", f"/{made['webhookId']}/rotate"),
        ("GET", f"/{made['webhookId']}/deliveries"),
    ):
        assert thief.request(method, PATH + path).status_code == 404
        if path:
            assert problem(thief.request(method, own + path)) == (404, "webhook-not-found")
    assert world.publisher.sent == []


def test_a_tenants_own_administrator_may(world: World) -> None:
    own = world.administrator("tenant_acme")
    assert own.post(PATH, json=WANTED).status_code == 201
    assert world.client.get(PATH).status_code == 404
