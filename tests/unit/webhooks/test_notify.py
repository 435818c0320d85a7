"""Tenants are told once, whatever comes twice; an endpoint that fails holds up nobody and is tried again."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from deeplens.embedding.model import ModelProfile
from deeplens.errors import InvalidImage
from deeplens.events.notifications import TenantNotification
from deeplens.images.model import Step
from deeplens.images.requests import extraction_request
from deeplens.webhooks.model import DISABLE_AFTER, Answer, Webhook
from deeplens.webhooks.notify import LEASE, RETENTION, TickWebhooks

from tests.harness.api import MODEL
from tests.harness.flow import TARGET, Flow

NOTIFICATIONS = "deeplens.tenant.notifications"
URL, OTHER_URL = "https://acme.example/hook", "https://other.example/hook"


@pytest.fixture
def flow() -> Iterator[Flow]:
    flow = Flow()
    yield flow
    flow.workers.shutdown(wait=False)


def listen(flow: Flow, *events: str, id: str = "whk_1", url: str = URL, owner: str = "tenant_acme") -> None:
    flow.webhooks.save(Webhook(id, owner, url, events, flow.clock.now()))


def told(flow: Flow, url: str = URL) -> list[tuple[str, str | None]]:
    """Types and images of what was sent to an endpoint."""
    bodies = [json.loads(body) for to, _, body in flow.webhook_sender.sent if to == url]
    return [(body["type"], body["data"].get("imageId")) for body in bodies]


def tick(flow: Flow) -> None:
    for event in TickWebhooks(flow.webhooks, flow.clock)():
        flow.send(event)
    flow.run()


def test_completed_and_failed_images_are_told_to_those_who_want_to_know(flow: Flow) -> None:
    listen(flow, "image.completed", "image.failed")
    listen(flow, "image.failed", id="whk_2", url=OTHER_URL)
    flow.accept("img_1")
    flow.accept("img_2", b"no image")
    flow.accept("img_3", owner=flow.other)
    flow.run()
    assert sorted(told(flow)) == [("image.completed", "img_1"), ("image.failed", "img_2")]
    assert told(flow, OTHER_URL) == [("image.failed", "img_2")]
    (body,) = [json.loads(body) for to, _, body in flow.webhook_sender.sent if to == OTHER_URL]
    assert body["data"]["error"]["code"] in {"FORMAT_UNSUPPORTED", "INVALID_IMAGE", "IMAGE_CORRUPT"}
    assert {delivery.state for delivery in flow.webhooks.kept.values()} == {"delivered"}


def test_without_a_webhook_nothing_is_published(flow: Flow) -> None:
    flow.accept("img_1")
    flow.run()
    assert NOTIFICATIONS not in flow.records


@pytest.mark.parametrize("topic", ["deeplens.processing.completed", NOTIFICATIONS])
def test_a_record_that_comes_again_tells_nothing_twice(flow: Flow, topic: str) -> None:
    listen(flow, "image.completed")
    copies: list[dict[str, object]] = []

    def keep(name: str) -> None:
        if name == topic and not copies:
            copies.extend(flow.records[topic])

    flow.accept("img_1")
    flow.run(before=keep)
    for _ in range(2):
        flow.records[topic].extend(copies)  # type: ignore[arg-type]
        flow.run()
    assert told(flow) == [("image.completed", "img_1")]
    assert [delivery.attempts for delivery in flow.webhooks.kept.values()] == [1]


def test_a_failed_record_that_comes_again_in_another_batch_tells_nothing_twice(flow: Flow) -> None:
    listen(flow, "image.failed")
    copies: list[dict[str, object]] = []

    def keep(name: str) -> None:
        if name == "deeplens.processing.failed" and not copies:
            copies.extend(flow.records[name])

    for n in range(3):
        flow.accept(f"img_{n}", b"no image")
    flow.run(before=keep)
    assert len(told(flow)) == len(copies) == 3
    flow.records["deeplens.processing.failed"].append(copies[-1])
    flow.run()
    assert len(told(flow)) == 3


def test_a_searchable_image_that_cannot_be_embedded_once_more_did_not_fail(flow: Flow) -> None:
    listen(flow, "image.failed")
    flow.accept("img_1")
    flow.run()

    def corrupt(*_: object) -> object:
        raise InvalidImage("too odd")

    flow.embedder.embed = corrupt  # type: ignore[assignment, method-assign]
    flow.send(extraction_request(flow.acme, "img_1", 1, MODEL, flow.clock.now()))
    flow.run()
    assert flow.row("img_1").step is Step.COMPLETED
    assert len(flow.dead_letters.letters) == 1
    assert told(flow) == []


def test_a_failing_endpoint_is_asked_once_a_batch_and_again_later(flow: Flow) -> None:
    listen(flow, "image.completed")
    listen(flow, "image.completed", id="whk_2", url=OTHER_URL)
    flow.webhook_sender.answers[URL] = Answer(503)
    for n in range(5):
        flow.accept(f"img_{n}")
    flow.run()
    assert len(told(flow)) == 1
    assert len(told(flow, OTHER_URL)) == 5
    tick(flow)
    assert len(told(flow)) == 1  # its pause is not over
    flow.webhook_sender.answers.clear()
    flow.clock.skip(timedelta(minutes=10))
    tick(flow)
    assert sorted(set(told(flow))) == [("image.completed", f"img_{n}") for n in range(5)]
    assert len(told(flow)) == 6
    assert {delivery.state for delivery in flow.webhooks.kept.values()} == {"delivered"}
    assert flow.webhooks.hooks["whk_1"].failures == 0
    assert flow.row("img_0").step is Step.COMPLETED


def test_every_try_sends_the_same_bytes_under_the_same_id(flow: Flow) -> None:
    listen(flow, "image.completed")
    flow.webhook_sender.answers[URL] = Answer(error="ConnectTimeoutError")
    flow.accept("img_1")
    flow.run()
    flow.clock.skip(timedelta(minutes=10))
    tick(flow)
    assert len(flow.webhook_sender.sent) == 2
    assert len({(headers["webhook-id"], body) for _, headers, body in flow.webhook_sender.sent}) == 1
    assert len({headers["webhook-timestamp"] for _, headers, _ in flow.webhook_sender.sent}) == 2


def test_an_endpoint_that_stays_away_is_given_up_and_told_nothing_more(flow: Flow) -> None:
    listen(flow, "image.completed")
    flow.webhook_sender.answers[URL] = Answer(500)
    for n in range(3):
        flow.accept(f"img_{n}")
    flow.run()
    for _ in range(80):
        flow.clock.skip(DISABLE_AFTER / 20)
        tick(flow)
    hook = flow.webhooks.hooks["whk_1"]
    assert not hook.enabled
    assert "failures in a row" in str(hook.disabled_reason)
    assert {delivery.state for delivery in flow.webhooks.kept.values()} == {"failed"}
    sent = len(flow.webhook_sender.sent)
    flow.accept("img_9")
    flow.run()
    assert len(flow.webhook_sender.sent) == sent
    assert flow.row("img_9").step is Step.COMPLETED


def test_a_delivery_lost_with_its_process_is_tried_by_the_schedule(flow: Flow) -> None:
    listen(flow, "image.completed")
    event = TenantNotification(
        tenant_id="tenant_acme", type="image.completed", occurred_at=flow.clock.now(), event_id="e1"
    )
    now = flow.clock.now()
    assert flow.webhooks.claim(flow.webhooks.record([event], now), now, now + LEASE)
    tick(flow)
    assert told(flow) == []
    flow.clock.skip(LEASE)
    tick(flow)
    assert told(flow) == [("image.completed", None)]


def test_old_deliveries_are_forgotten(flow: Flow) -> None:
    listen(flow, "image.completed")
    flow.accept("img_1")
    flow.run()
    tick(flow)
    assert len(flow.webhooks.kept) == 1
    flow.clock.skip(RETENTION + timedelta(days=1))
    tick(flow)
    assert flow.webhooks.kept == {}


def test_a_failure_with_the_model_that_is_rolled_out_is_no_failed_image(flow: Flow) -> None:
    listen(flow, "image.failed", "image.completed")
    flow.rollouts.register(ModelProfile(TARGET))
    flow.index.create_collection(flow.acme.using(TARGET))
    assert flow.rollouts.start(flow.tenants.get("tenant_acme"), TARGET, "rol_1", flow.clock.now())
    embed = flow.embedder.embed

    def fails_with_target(images: object, model: object) -> object:
        if model == TARGET:
            raise InvalidImage("too odd")
        return embed(images, model)  # type: ignore[arg-type]

    flow.embedder.embed = fails_with_target  # type: ignore[assignment, method-assign]
    flow.accept("img_1")
    flow.run()
    assert told(flow) == [("image.completed", "img_1")]
