"""The pipeline survives poison records, a restart of the broker and crashed functions."""

import json
from collections.abc import Sequence

from confluent_kafka import Producer
from deeplens.events.topics import TOPICS, Topic

from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, eventually, picture

POISON: Sequence[bytes | None] = (
    None,
    b"",
    b"not json",
    b"\xff\xfe\x00\x80",
    b"[]",
    b'{"tenantId": 7}',
    json.dumps({"padding": "x" * 700_000}).encode(),
)
LIVE = [topic for topic in TOPICS if topic.consumers]


def send(stack: Stack, topic: Topic, values: Sequence[bytes | None]) -> None:
    """Put raw records on every partition of a topic."""
    producer = Producer({"bootstrap.servers": stack.environment["KAFKA_BROKERS"], "acks": "all"})
    for partition in range(topic.partitions):
        for value in values:
            producer.produce(topic.name, value, b"tenant_x:img_x", partition)
    assert producer.flush(20) == 0


def test_poison_records_block_no_partition_of_any_topic(stack: Stack, other: TenantClient) -> None:
    statement = "SELECT 1 FROM dead_letters WHERE source->>'topic' = %s"
    expected = {topic.name: len(POISON) * topic.partitions + other.rows(statement, [topic.name]) for topic in LIVE}

    for topic in LIVE:
        send(stack, topic, POISON)
    ids = [other.upload(picture(300 + seed)) for seed in range(6)]

    assert {other.until_ended(image_id)["status"] for image_id in ids} == {"completed"}
    for name, count in expected.items():
        eventually(lambda name=name: other.rows(statement, [name]), lambda found, count=count: found >= count)  # type: ignore[misc]


def test_events_of_an_unknown_tenant_provision_nothing(stack: Stack, other: TenantClient) -> None:
    event = {
        "imageId": "img_1",
        "tenantId": "tenant_never_made",
        "fileName": "a.jpg",
        "storagePath": "nfs://tenant-never-made/images/img_1.jpg",
        "mimeType": "image/jpeg",
        "sizeBytes": 1,
        "uploadedAt": "2026-01-14T10:30:00Z",
    }
    send(stack, TOPICS[0], [json.dumps(event).encode()])

    statement = "SELECT 1 FROM dead_letters WHERE tenant_id = 'tenant_never_made' AND error_code = 'TENANT_NOT_FOUND'"
    eventually(lambda: other.rows(statement, []))
    assert other.rows("SELECT 1 FROM tenants WHERE id = 'tenant_never_made'", []) == 0


def test_an_event_cannot_reach_into_another_tenants_store(
    stack: Stack, client: TenantClient, other: TenantClient
) -> None:
    victim = client.completed(picture(30))
    image_id = other.completed(picture(31))
    event = {
        "imageId": image_id,
        "tenantId": other.tenant.id,
        "generation": 2,
        "fileName": "a.jpg",
        "storagePath": client.parts.stores.for_tenant(client.tenant).uri(f"images/{victim}.jpg"),
        "mimeType": "image/jpeg",
        "sizeBytes": 1,
        "uploadedAt": "2026-01-14T10:30:00Z",
    }
    send(stack, TOPICS[0], [json.dumps(event).encode()])

    statement = "SELECT 1 FROM dead_letters WHERE image_id = %s AND error_code = 'INVALID_EVENT'"
    eventually(lambda: other.rows(statement, [image_id]))


def test_a_broker_restart_in_mid_run_loses_nothing(stack: Stack, client: TenantClient) -> None:
    ids = [client.upload(picture(400 + seed)) for seed in range(8)]
    broker = stack.service("kafka")
    broker.kill()
    refused = client.http.post(
        "/images", files={"file": ("a.jpg", picture(450))}, headers={"Idempotency-Key": "during-the-outage"}
    )
    broker.launch()
    broker.wait_ready()

    assert refused.status_code in (202, 503)
    retried = eventually(
        lambda: client.http.post(
            "/images", files={"file": ("a.jpg", picture(450))}, headers={"Idempotency-Key": "during-the-outage"}
        ),
        lambda answer: answer.status_code == 202,
    )
    ids.append(retried.json()["imageId"])
    assert {client.until_ended(image_id)["status"] for image_id in ids} == {"completed"}
    assert client.parts.index.existing(client.tenant, ids) == set(ids)


def test_functions_that_crash_lose_nothing(stack: Stack, client: TenantClient) -> None:
    assert stack.runner is not None
    ids = []
    for seed in range(12):
        ids.append(client.upload(picture(500 + seed)))
        if seed % 4 == 1:
            for name in ("on_image_uploaded", "on_extraction_requested", "on_indexing_requested"):
                stack.runner.pools[name].kill_one()

    assert {client.until_ended(image_id)["status"] for image_id in ids} == {"completed"}


def test_replaying_every_event_changes_nothing(stack: Stack, other: TenantClient) -> None:
    body = picture(700)
    image_id = other.completed(body)
    row = other.image(image_id)
    event = {
        "imageId": image_id,
        "tenantId": other.tenant.id,
        "fileName": "photo.jpg",
        "storagePath": other.parts.images.find(other.tenant, [image_id])[image_id].storage_path,  # type: ignore[union-attr]
        "mimeType": "image/jpeg",
        "sizeBytes": len(body),
        "uploadedAt": row["uploadedAt"],
    }
    points = other.parts.index.count(other.tenant)

    send(stack, TOPICS[0], [json.dumps(event).encode()])
    other.completed(picture(701))
    eventually(other.pending, lambda count: count == 0)

    assert other.image(image_id)["timeline"] == row["timeline"]
    assert other.parts.index.count(other.tenant) == points + 1
