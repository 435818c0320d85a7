"""The files in events/ are events as Lambda sends them, and poison events block nothing."""

import json
from base64 import b64decode
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from deeplens.common.event import Event
from deeplens.common.outgoing import OutgoingMessage
from deeplens.common.stage import Done, Outcome
from deeplens.events.bucket import BucketNotification, ObjectLocation
from deeplens.events.failures import DeadLetter, ProcessingFailed, Retry
from deeplens.events.topics import TOPICS, Topic
from deeplens.failures.store import read_dead_letter
from deeplens.kafka.handler import BatchHandler
from deeplens.kafka.records import parse, records_of, value_of
from deeplens.whatsapp.app import create_whatsapp_app
from deeplens.whatsapp.incoming import WhatsAppSecrets
from mangum import Mangum

from local.runner.kafka_event import KafkaRecord, lambda_event
from local.runner.schedule_source import schedule_event
from local.runner.sqs_source import sqs_record
from tests.harness.api import World

EVENTS = Path(__file__).resolve().parents[3] / "events"
KAFKA = [(name, topic) for topic in TOPICS for name in topic.consumers]


QUEUED = {"on_retry_due": (Retry, "RetryQueue"), "on_object_created": (BucketNotification, "ObjectQueue")}


def read(name: str) -> dict[str, Any]:
    return dict(json.loads((EVENTS / f"{name}.json").read_text()))


class Listening:
    """A stage that records its batches."""

    name = "listen"

    def __init__(self, consumes: type[Event]) -> None:
        self.consumes, self.heard = consumes, list[Event]()

    def __call__(self, batch: Sequence[Event]) -> list[Outcome]:
        self.heard += batch
        return [Done()] * len(batch)


class Publishing:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, messages: Sequence[OutgoingMessage]) -> list[bool]:
        self.events += [message.event for message in messages]
        return [True] * len(messages)


def run(topic: Topic, event: dict[str, Any]) -> tuple[Listening, list[Event], Any]:
    """Return the batches of the stage, the published records, and the response to Lambda."""
    stage, publisher = Listening(topic.contract), Publishing()
    clock = SimpleNamespace(now=lambda: datetime(2026, 1, 14, tzinfo=UTC))
    reader = read_dead_letter if topic.contract is DeadLetter else None
    answer = BatchHandler(stage, publisher, clock, reader)(event, lambda *_: None)
    return stage, publisher.events, answer


def test_every_function_has_events_and_every_topic_a_payload() -> None:
    kafka = {f"{name}{kind}" for name, _ in KAFKA for kind in ("", ".poison")}
    http = {f"{name}{kind}" for name in ("search_api", "admin_api", "whatsapp_webhook") for kind in ("", ".poison")}
    queue = {f"{name}{kind}" for name in QUEUED for kind in ("", ".poison")}
    assert {path.stem for path in EVENTS.glob("*.json")} == kafka | http | queue | {
        "on_schedule",
        "on_administration_schedule",
        "on_probe_schedule",
    }
    assert {path.stem for path in (EVENTS / "payloads").glob("*.json")} == {topic.name for topic in TOPICS}


@pytest.mark.parametrize(("name", "topic"), KAFKA, ids=str)
def test_a_valid_event_carries_its_topics_payload(name: str, topic: Topic) -> None:
    (record,) = records_of(read(name))

    assert json.loads(value_of(record)) == json.loads((EVENTS / "payloads" / f"{topic.name}.json").read_text())
    assert record.topic == topic.name
    assert record.traceparent is not None


@pytest.mark.parametrize(("name", "topic"), KAFKA, ids=str)
def test_a_valid_event_is_built_as_the_runner_builds_it(name: str, topic: Topic) -> None:
    event = read(name)
    (record,) = records_of(event)
    headers = tuple(record.headers.items())
    key = parse(record, topic.contract).key.encode()
    built = KafkaRecord(topic.name, 0, 0, 1768386600000, key, value_of(record), headers)

    assert lambda_event([built], event["eventSourceArn"], event["bootstrapServers"]) == event


@pytest.mark.parametrize(("name", "topic"), KAFKA, ids=str)
def test_a_valid_event_reaches_the_stage(name: str, topic: Topic) -> None:
    stage, published, answer = run(topic, read(name))

    assert [type(event) for event in stage.heard] == [topic.contract]
    assert (published, answer) == ([], {"batchItemFailures": []})


@pytest.mark.parametrize(("name", "topic"), KAFKA, ids=str)
def test_poison_becomes_failures_and_lets_the_partition_go_on(name: str, topic: Topic) -> None:
    poison = read(f"{name}.poison")
    stage, published, answer = run(topic, poison)
    kept, kinds = stage.heard if topic.contract is DeadLetter else published, (ProcessingFailed, DeadLetter)

    assert answer == {"batchItemFailures": []}
    assert [event.source and event.source.offset for event in kept if isinstance(event, kinds)] == [0, 1, 2, 3]
    assert len(stage.heard) + len(published) == 4


@pytest.mark.parametrize("name", QUEUED)
def test_a_queues_valid_event_reaches_the_stage_and_its_poison_becomes_failures(name: str) -> None:
    contract, queue = QUEUED[name]
    stage, publisher = Listening(contract), Publishing()
    clock, silent = (
        SimpleNamespace(now=lambda: datetime(2026, 1, 14, tzinfo=UTC)),
        lambda *_: None,
    )
    handler = BatchHandler(stage, publisher, clock)  # type: ignore[arg-type]

    for kind in ("", ".poison"):
        assert handler(read(f"{name}{kind}"), silent) == {"batchItemFailures": []}  # type: ignore[arg-type]
    assert [type(event) for event in stage.heard] == [contract]
    failed = [event for event in publisher.events if isinstance(event, ProcessingFailed)]
    assert [event.source and event.source.topic for event in failed] == [queue] * 4


def test_a_retry_carries_its_record_and_a_notification_its_object() -> None:
    (retry,), (notified,) = ([parse(record, QUEUED[name][0]) for record in records_of(read(name))] for name in QUEUED)
    assert isinstance(retry, Retry)
    assert b64decode(retry.record.value or "") == (EVENTS / "payloads" / "deeplens.images.uploaded.json").read_bytes()
    assert isinstance(notified, BucketNotification)
    assert notified.created == [ObjectLocation("aws:s3", "tenant-abc", "uploads/upl_01kd1v8q4w2m6n9r5t7x3z0abc")]


@pytest.mark.parametrize("name", QUEUED)
def test_a_message_is_built_as_the_runner_builds_it(name: str) -> None:
    (written,) = read(name)["Records"]
    message = {
        "MessageId": written["messageId"],
        "ReceiptHandle": written["receiptHandle"],
        "Body": written["body"],
        "Attributes": written["attributes"],
        "MD5OfBody": written["md5OfBody"],
    }
    assert sqs_record(message, QUEUED[name][1], "us-east-1") == written


def test_a_notification_that_nobody_took_in_is_kept_as_a_dead_letter() -> None:
    (record,) = records_of(read("on_object_created"))
    letter = read_dead_letter(record)
    assert (letter.error.code, letter.source and letter.source.topic) == ("OBJECT_NOT_INGESTED", "ObjectQueue")


@pytest.mark.parametrize("name", ["on_schedule", "on_administration_schedule"])
def test_a_schedule_event_is_built_as_the_runner_builds_it(name: str) -> None:
    event = read(name)
    assert {**schedule_event(), "id": event["id"], "time": event["time"]} == event


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("search_api", 200),
        ("search_api.poison", 400),
        ("admin_api", 200),
        ("admin_api.poison", 422),
        ("whatsapp_webhook", 200),
        ("whatsapp_webhook.poison", 401),
    ],
)
def test_http_events_are_answered(world: World, name: str, status: int) -> None:
    event = read(name)
    app, client = (world.admin_app, world.operator()) if "admin" in name else (world.app, world.client)
    if "whatsapp" in name:
        world.whatsapp_secrets = WhatsAppSecrets("app secret", "verify token")
        app = create_whatsapp_app(world)
    event["headers"]["x-api-key"] = client.headers["X-API-Key"]
    answer = Mangum(app, lifespan="off")(event, SimpleNamespace(aws_request_id="1"))  # type: ignore[arg-type]

    assert answer["statusCode"] == status


@pytest.fixture
def world() -> World:
    return World()
