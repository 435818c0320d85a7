"""Replaying every topic from offset 0 changes no notification, row, total, point or file."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from deeplens.aws.clients import client as aws
from deeplens.events.topics import TOPICS
from deeplens.webhooks.model import Webhook

from local.runner.template import KafkaEvent
from local.stack.stack import Stack, ignore_progress, settings_for
from tests.e2e.conftest import TenantClient, eventually, new_client, picture, running_stack
from tests.harness.webhook_endpoint import Endpoint, serving

# One event and one tenant's usage are replayed in every run, by test_broker and test_usage.
pytestmark = pytest.mark.long
PLATFORM = {
    "pending_images": "",
    "usage_events": "",
    "usage_daily": "WHERE metric <> 'api.requests'",
    "dead_letters": "",
    "webhooks": "",
    "webhook_deliveries": "",
    "tenants": "",
    "maintenance_runs": "",
}
TENANT = ("images", "image_events", "deleted_images", "image_models", "storage_totals")


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """What other tests have left on the topics would take minutes to go through again."""
    with running_stack() as stack:
        yield stack


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with serving() as made:
        yield made


@pytest.fixture(scope="module", params=["nfs", "s3"])
def worked(request: pytest.FixtureRequest, own_stack: Stack, endpoint: Endpoint) -> TenantClient:
    """A tenant whose images completed, failed, were retried, and were deleted, early and late."""
    parts = own_stack.container()
    client = new_client(own_stack, parts, f"tenant_replayed_{request.param}", request.param)
    events = ("image.completed", "image.failed")
    parts.webhooks.save(Webhook(f"whk_{request.param}", client.tenant.id, endpoint.url, events, parts.clock.now()))
    completed = [client.upload(picture(seed)) for seed in range(4)]
    failed = [client.upload(picture(seed)[:3000]) for seed in range(4, 6)]
    early = client.upload(picture(6))
    assert client.http.delete(f"/images/{early}").status_code == 202
    assert {client.until_ended(image_id)["status"] for image_id in completed} == {"completed"}
    assert {client.until_ended(image_id)["status"] for image_id in failed} == {"failed"}
    assert client.http.post(f"/images/{failed[0]}/retry").status_code == 202
    assert client.http.delete(f"/images/{completed[0]}").status_code == 202
    return client


def groups(stack: Stack) -> dict[str, str]:
    """Topic by consumer group."""
    assert stack.runner is not None
    events = [event for spec in stack.runner.template.functions for event in spec.events]
    return {event.group_id: event.topic for event in events if isinstance(event, KafkaEvent)}


def ends(admin: AdminClient) -> dict[tuple[str, int], int]:
    offset_requests = {
        TopicPartition(topic.name, number): OffsetSpec.latest()
        for topic in TOPICS
        if topic.consumers
        for number in range(topic.partitions)
    }
    return {
        (at.topic, at.partition): found.result().offset for at, found in admin.list_offsets(offset_requests).items()
    }


def committed(admin: AdminClient, names: dict[str, str]) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    for name in names:
        (answer,) = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)]).values()
        found |= {(at.topic, at.partition): at.offset for at in answer.result().topic_partitions or []}
    return found


def until_quiet(stack: Stack, admin: AdminClient) -> dict[tuple[str, int], int]:
    """Wait until every record is done and nothing follows any more; returns the topics' ends."""
    names, sqs = groups(stack), aws("sqs", settings_for(stack.environment))
    queue = f"{stack.environment['AWS_ENDPOINT_URL']}/000000000000/RetryQueue"
    counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def settled() -> dict[tuple[str, int], int] | None:
        before, waiting = ends(admin), sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=counts)
        done = committed(admin, names)
        behind = [at for at, end in before.items() if end and done.get(at, -1) < end]
        return None if behind or any(int(n) for n in waiting["Attributes"].values()) else before

    def stays() -> dict[tuple[str, int], int] | None:
        first = settled()
        time.sleep(1)  # Longer than an invocation takes to publish what follows from it.
        return first if first is not None and settled() == first else None

    return eventually(stays)  # type: ignore[return-value]


def start_over(stack: Stack, admin: AdminClient) -> None:
    """Stop the functions, set every group back to offset 0, and start them again."""
    names = groups(stack)
    assert stack.runner is not None
    stack.runner.stop()
    for name, topic in names.items():
        (partitions,) = [one.partitions for one in TOPICS if one.name == topic]
        zero = ConsumerGroupTopicPartitions(name, [TopicPartition(topic, number, 0) for number in range(partitions)])
        for answer in admin.alter_consumer_group_offsets([zero]).values():
            answer.result()
    stack._start_runner(ignore_progress)


def snapshot(client: TenantClient) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with client.parts.connections.platform() as connection:
        for table, where in PLATFORM.items():
            found[table] = _rows(connection, f"SELECT to_jsonb(t) AS row FROM {table} t {where}")
    with client.parts.connections.tenant(client.tenant) as connection:
        for table in TENANT:
            found[table] = _rows(connection, f"SELECT to_jsonb(t) AS row FROM {table} t")
    store, index = client.parts.stores.for_tenant(client.tenant), client.parts.index
    found["objects"] = {entry.key: (entry.size_bytes, store.get(entry.key)) for entry in store.list()}
    points = index.scroll(client.tenant, None, 1000).points
    found["points"] = {point.image_id: index.vector_of(client.tenant, point.image_id or "") for point in points}
    return found


def _rows(connection: Any, statement: str) -> list[str]:
    return sorted(repr(row["row"]) for row in connection.execute(statement).fetchall())


def test_replaying_every_topic_changes_nothing(own_stack: Stack, worked: TenantClient, endpoint: Endpoint) -> None:
    admin = AdminClient({"bootstrap.servers": own_stack.environment["KAFKA_BROKERS"]})
    first_ends = until_quiet(own_stack, admin)
    before, heard = snapshot(worked), len(endpoint.heard)
    assert len(before["points"]) == 3
    assert len(before["deleted_images"]) == 2
    assert heard >= 4 + 2

    start_over(own_stack, admin)
    last_ends = until_quiet(own_stack, admin)

    assert sum(last_ends.values()) > sum(first_ends.values()), "nothing was worked again"
    after = snapshot(worked)
    assert {name: after[name] for name in after if after[name] != before[name]} == {}
    assert len(endpoint.heard) == heard
