"""Usage is metered once, a replay changes nothing, and an exhausted budget pauses uploads."""

import csv
import io
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Consumer, Message, Producer
from deeplens.access.scopes import ADMIN
from deeplens.bootstrap.container import Container
from deeplens.events.topics import TENANT_USAGE
from deeplens.tenants.limits import ResourceLimits

from local.runner.schedule_source import schedule_event
from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, eventually, new_client, picture
from tests.harness.webhook_endpoint import Endpoint

# A second running stack shares the end-to-end tests: most of their time is waiting.
pytestmark = pytest.mark.xdist_group("second stack")

TENANT = "tenant_metered"


@pytest.fixture(scope="module")
def admin(stack: Stack, parts: Container) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": parts.api_keys.create(None, "operator", (ADMIN,))}
    with httpx.Client(base_url=f"{stack.api_url}/v1/admin", headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def metered(stack: Stack, parts: Container) -> TenantClient:
    return new_client(stack, parts, TENANT, "nfs")


def used(client: TenantClient) -> dict[str, float]:
    daily = client.http.get("/usage").json()["daily"]
    return {metric: sum(day["quantity"] for day in days) for metric, days in daily.items()}


def totals(client: TenantClient) -> dict[str, float]:
    """What was metered, without what is still counted live."""
    with client.parts.connections.platform() as connection:
        found = connection.execute(
            "SELECT metric, sum(quantity)::float8 AS quantity FROM usage_daily WHERE tenant_id = %s GROUP BY 1",
            [client.tenant.id],
        )
        return {row["metric"]: row["quantity"] for row in found}


def make_due(client: TenantClient) -> None:
    """Let what requests used so far be some minutes old, and the next measurement due."""
    with client.parts.connections.platform() as connection:
        connection.execute(
            "UPDATE request_counters SET minute = minute - interval '1 hour' WHERE tenant_id = %s", [client.tenant.id]
        )
        connection.execute("UPDATE tenant_sweeps SET measured_at = NULL WHERE tenant_id = %s", [client.tenant.id])


def tick(stack: Stack) -> None:
    """What happens every minute, now."""
    assert stack.runner is not None
    result = stack.runner.invoke("on_schedule", schedule_event())
    assert not result.failed, result.error


def replay(stack: Stack, tenant_id: str) -> int:
    """Put every usage record of a tenant onto the topic once more, as it was; returns how many."""
    settings = {"bootstrap.servers": stack.environment["KAFKA_BROKERS"], "group.id": f"replay-{uuid4()}"}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest", "enable.partition.eof": True})
    producer = Producer({"bootstrap.servers": stack.environment["KAFKA_BROKERS"], "acks": "all"})
    consumer.subscribe([TENANT_USAGE.name])
    # All is read before any is sent: what is sent lies on the same topic.
    records, ended, deadline = list[Message](), set[int](), time.monotonic() + 60
    while len(ended) < TENANT_USAGE.partitions:
        assert time.monotonic() < deadline
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            ended.add(message.partition())
        elif message.value() and message.key() == tenant_id.encode():
            records.append(message)
    consumer.close()
    for record in records:
        producer.produce(TENANT_USAGE.name, record.value(), record.key(), headers=record.headers())
    assert producer.flush(20) == 0
    return len(records)


def test_what_was_done_is_metered_once_and_a_replay_changes_no_total(
    stack: Stack, metered: TenantClient, admin: httpx.Client
) -> None:
    bodies = [picture(8800 + n) for n in range(3)]
    ids = [metered.completed(body) for body in bodies]
    whole = picture(8810)
    assert metered.until_ended(metered.upload(whole[: len(whole) // 2]))["status"] == "failed"
    for body in bodies[:2]:
        metered.search(body)
    original = metered.http.get(f"/images/{ids[0]}/content").content
    small = metered.http.get(f"/images/{ids[0]}/thumbnails/small").content
    before = used(metered)
    assert before["searches"] == 2
    assert before["egress.bytes"] == len(original) + len(small)
    make_due(metered)
    tick(stack)

    expected_usage = {"images.uploaded": 4, "images.completed": 3, "embeddings": 3, "searches": 2, "storage.images": 4}
    eventually(
        lambda: {name: totals(metered).get(name) for name in expected_usage}, lambda found: found == expected_usage
    )
    eventually(
        lambda: totals(metered)["storage.bytes"], lambda stored: stored == metered.http.get("/usage").json()["bytes"]
    )
    settled = totals(metered)
    assert settled["inference.ms"] > 0
    assert settled["egress.bytes"] == before["egress.bytes"]
    assert settled["api.requests"] >= before["api.requests"]

    sent = replay(stack, TENANT)
    last = metered.completed(picture(8830))
    eventually(lambda: totals(metered)["images.completed"], lambda count: count == 4)
    assert sent >= 3 * 3 + 1
    changed = {"images.uploaded": 5, "images.completed": 4, "embeddings": 4, "searches": 2}
    eventually(lambda: {name: totals(metered)[name] for name in changed}, lambda found: found == changed)

    table = admin.get("/usage/export", params={"tenant_id": TENANT}).text
    billed = {row["metric"]: float(row["quantity"]) for row in csv.DictReader(io.StringIO(table))}
    assert billed["images.completed"] == 4
    listed = admin.get("/usage", params={"tenant_id": TENANT}).json()["tenants"]
    assert listed[0]["totals"]["embeddings"] == 4
    stages = [event["stage"] for event in metered.http.get(f"/images/{last}/events").json()["events"]]
    assert stages == ["accept", "preprocess", "extract", "index", "complete"]


def test_an_exhausted_budget_pauses_uploads_and_tells_of_it(
    stack: Stack,
    parts: Container,
    admin: httpx.Client,
    endpoint: Endpoint,
) -> None:
    thrifty = new_client(stack, parts, "tenant_thrifty", "nfs")
    # Set before anybody has read the tenant: what is tried until the pause is known is refused, and makes no image.
    parts.tenant_records.set_limits("tenant_thrifty", ResourceLimits(max_images=1))
    thrifty.completed(picture(8840))
    eventually(lambda: totals(thrifty).get("images.uploaded", 0), lambda count: count == 1)
    path = "/tenants/tenant_thrifty"
    hook = admin.post(f"{path}/webhooks", json={"url": endpoint.url, "events": ["usage.budget"]}).json()
    budget = {"metric": "images.uploaded", "limit": 1, "warnPercent": [50], "action": "pause"}

    answer = admin.put(f"{path}/budgets", json={"budgets": [budget]})

    def upload() -> httpx.Response:
        return thrifty.http.post("/images", files={"file": ("a.jpg", picture(8841))})

    assert answer.status_code == 200, answer.text
    assert answer.json()["uploadsPausedUntil"]
    refused = eventually(upload, lambda answer: answer.status_code == 429, 30)
    assert refused.json()["type"] == "/problems/budget-exhausted"
    assert 0 < int(refused.headers["retry-after"]) <= 31 * 86_400
    assert thrifty.search(picture(8840))
    assert thrifty.http.get("/usage").json()["budgets"][0]["metric"] == "images.uploaded"
    tick(stack)

    def told() -> list[dict[str, Any]]:
        return sorted(
            (message["data"] for message in endpoint.messages(hook["secret"])), key=lambda warning: warning["percent"]
        )

    eventually(lambda: [warning["percent"] for warning in told()], lambda found: found == [50, 100])
    assert [warning.get("uploadsPausedUntil") is None for warning in told()] == [True, False]
    assert admin.delete(f"{path}/budgets").status_code == 204
    parts.tenant_records.set_limits("tenant_thrifty", ResourceLimits())
    eventually(upload, lambda answer: answer.status_code == 202, 30)


def test_the_tail_of_all_events_misses_none(metered: TenantClient) -> None:
    start = metered.http.get("/events").json()["tailCursor"]
    image_id = metered.completed(picture(8850))
    seen: list[str] = []

    def follow() -> list[str]:
        nonlocal start
        page = metered.http.get("/events", params={"after": start, "limit": 2, "image_id": image_id}).json()
        start = page["tailCursor"]
        seen.extend(event["stage"] for event in page["events"])
        return seen

    eventually(follow, lambda found: found == ["accept", "preprocess", "extract", "index", "complete"])
    newest = metered.http.get("/events", params={"stage": "complete", "limit": 1}).json()
    assert newest["events"][0]["imageId"] == image_id
    assert newest["nextCursor"]
