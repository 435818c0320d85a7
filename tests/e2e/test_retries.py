"""Transient failures go through the delay queue, and others become dead letters."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from deeplens.access.scopes import ADMIN
from deeplens.aws.clients import client
from deeplens.bootstrap.container import Container
from deeplens.common.outgoing import OutgoingMessage
from deeplens.events.images import ImageUploaded
from deeplens.images.model import NewImage

from local.stack.stack import Stack, settings_for
from tests.e2e.conftest import TenantClient, eventually, picture

EVERY_MINUTE = {"time": "2026-11-20T10:30:00Z"}


@pytest.fixture(scope="module")
def admin(stack: Stack, parts: Container) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": parts.api_keys.create(None, "operator", (ADMIN,))}
    with httpx.Client(base_url=f"{stack.api_url}/v1/admin", headers=headers, timeout=60, trust_env=False) as http:
        yield http


def accept_without_object(owner: TenantClient, image_id: str) -> str:
    """An accepted image whose original is not in the store (yet); returns its key."""
    parts, tenant, now = owner.parts, owner.tenant, owner.parts.clock.now()
    key = f"images/{image_id}.jpg"
    path = parts.stores.for_tenant(tenant).uri(key)
    event = ImageUploaded(
        image_id=image_id,
        tenant_id=tenant.id,
        file_name="late.jpg",
        storage_path=path,
        mime_type="image/jpeg",
        size_bytes=1,
        uploaded_at=now,
    )
    assert parts.pending.admit(event, now + parts.pending_due).released
    parts.images.insert(tenant, NewImage(image_id, "late.jpg", path, "image/jpeg", 1, "0" * 64, now))
    parts.publisher.publish([OutgoingMessage(event, f"e2e-{image_id}")])
    return key


def failures(owner: TenantClient, image_id: str) -> list[dict[str, Any]]:
    return [line for line in owner.image(image_id)["timeline"] if line.get("errorCode")]


def letter_of(admin: httpx.Client, image_id: str) -> dict[str, Any] | None:
    letters = admin.get("/dead-letters", params={"tenant_id": "tenant_other", "limit": 200}).json()["deadLetters"]
    return next((letter for letter in letters if letter.get("imageId") == image_id), None)


def test_what_fails_for_a_while_waits_and_completes(other: TenantClient) -> None:
    key = accept_without_object(other, "img_late1")
    (failure,) = eventually(lambda: failures(other, "img_late1"))
    assert failure["errorCode"] == "OBJECT_NOT_FOUND"
    assert other.image("img_late1")["status"] == "accepted"

    other.parts.stores.for_tenant(other.tenant).put(key, picture(901), "image/jpeg")

    assert other.until_ended("img_late1")["status"] == "completed"
    assert other.rows("SELECT 1 FROM dead_letters WHERE image_id = %s", ["img_late1"]) == 0
    eventually(other.pending, lambda left: left == 0)


def test_a_retry_that_localstack_forgot_is_made_good_and_its_queues_come_back(
    stack: Stack, other: TenantClient
) -> None:
    key = accept_without_object(other, "img_late2")
    eventually(lambda: failures(other, "img_late2"))
    # As a restart of LocalStack does, which other tests' buckets and secrets would not survive.
    queue = f"{stack.environment['AWS_ENDPOINT_URL']}/000000000000/RetryQueue"
    client("sqs", settings_for(stack.environment)).delete_queue(QueueUrl=queue)
    other.parts.stores.for_tenant(other.tenant).put(key, picture(902), "image/jpeg")
    with other.parts.connections.platform() as connection:
        past = other.parts.clock.now() - timedelta(seconds=1)
        connection.execute("UPDATE pending_images SET due = %s WHERE image_id = 'img_late2'", [past])

    assert stack.runner is not None
    stack.runner.invoke("on_schedule", EVERY_MINUTE)
    assert other.until_ended("img_late2")["status"] == "completed"

    third = accept_without_object(other, "img_late3")
    eventually(lambda: failures(other, "img_late3"))
    other.parts.stores.for_tenant(other.tenant).put(third, picture(903), "image/jpeg")
    assert other.until_ended("img_late3")["status"] == "completed"


def test_a_failed_image_is_replayed_by_an_operator_and_retried_by_its_tenant(
    other: TenantClient, admin: httpx.Client
) -> None:
    image_id = other.upload(picture(904)[:2000])
    assert other.until_ended(image_id)["status"] == "failed"
    letter = eventually(lambda: letter_of(admin, image_id))
    assert letter is not None
    url = f"/dead-letters/{letter['deadLetterId']}"
    assert admin.get(url).json()["event"]["imageId"] == image_id
    assert admin.post(f"{url}/replay", json={"dryRun": True}).json()["replayed"] == 1
    assert other.image(image_id)["status"] == "failed"

    assert admin.post(f"{url}/replay").status_code == 200
    assert admin.get(url).json()["state"] == "replayed"
    generations = lambda: {line["generation"] for line in failures(other, image_id)}  # noqa: E731
    eventually(generations, lambda found: 2 in found)
    other.until_ended(image_id)

    retried = other.http.post(f"/images/{image_id}/retry")
    assert retried.status_code == 202
    eventually(generations, lambda found: 3 in found)
    assert other.until_ended(image_id)["status"] == "failed"
    eventually(other.pending, lambda left: left == 0)
    groups = admin.get("/dead-letters/groups", params={"tenant_id": "tenant_other"}).json()["groups"]
    assert any(group["stage"] == "preprocess" for group in groups)
    assert other.http.post(f"/images/{other.completed(picture(905))}/retry").status_code == 409
