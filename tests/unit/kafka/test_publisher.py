"""What the producer is given: events with their ids, and records as they were."""

from collections.abc import Callable
from typing import Any

import pytest
from deeplens.common.outgoing import OutgoingMessage, OutgoingRecord
from deeplens.events.usage import TenantUsage
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.kafka import publisher as module
from deeplens.kafka.publisher import KafkaPublisher
from deeplens.settings import Settings

from tests.harness.api import START

USAGE = TenantUsage(tenant_id="tenant_a", metric="m", quantity=1, unit="u", occurred_at=START)


class ScriptedProducer:
    """Delivers everything but the values in ``lost`` at the flush; a full buffer refuses the first ``full`` calls."""

    def __init__(self, _config: dict[str, Any]) -> None:
        self.sent: list[dict[str, Any]] = []
        self.lost: set[bytes] = set()
        self.full = 0

    def poll(self, _seconds: float) -> int:
        return 0

    def produce(self, topic: str, *, on_delivery: Callable[[Any, Any], None], **message: Any) -> None:
        if self.full:
            self.full -= 1
            raise BufferError
        self.sent.append({"topic": topic, "report": on_delivery, **message})

    def flush(self, _seconds: float) -> int:
        for message in self.sent:
            message["report"]("lost" if message["value"] in self.lost else None, None)
        return 0


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> KafkaPublisher:
    monkeypatch.setattr(module, "Producer", ScriptedProducer)
    return KafkaPublisher(Settings(kafka_brokers="127.0.0.1:9"))


def record(**changes: Any) -> OutgoingRecord:
    return OutgoingRecord(**{"topic": "t", "key": b"\xff", "value": b"\x00", "event_id": "e1"} | changes)


def sent(publisher: KafkaPublisher) -> list[dict[str, Any]]:
    return list(publisher._producer.sent)


def test_an_event_goes_to_its_topic_with_its_id_and_nothing_else(publisher: KafkaPublisher) -> None:
    assert publisher.publish([OutgoingMessage(USAGE, "e1"), OutgoingMessage(USAGE, "e2", "00-trace")]) == [True, True]
    first, second = sent(publisher)
    assert (first["topic"], first["key"], first["value"]) == ("deeplens.tenant.usage", b"tenant_a", USAGE.to_wire())
    assert first["headers"] == [("deeplens-event-id", b"e1")]
    assert second["headers"] == [("deeplens-event-id", b"e2"), ("traceparent", b"00-trace")]


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({}, {}),
        ({"attempt": 3}, {"deeplens-attempt": b"3"}),
        ({"replays": 2}, {"deeplens-replays": b"2"}),
        ({"stage": "detect"}, {"deeplens-stage": b"detect"}),
        ({"attempt": 2, "replays": 1}, {"deeplens-attempt": b"2", "deeplens-replays": b"1"}),
        ({"traceparent": "00-t", "key": None}, {"traceparent": b"00-t"}),
    ],
    ids=str,
)
def test_a_record_is_sent_as_it_was_with_its_counts(
    publisher: KafkaPublisher, changes: dict[str, Any], headers: dict[str, bytes]
) -> None:
    assert publisher.resend([record(**changes)]) == [True]
    (message,) = sent(publisher)
    assert (message["topic"], message["key"], message["value"]) == ("t", changes.get("key", b"\xff"), b"\x00")
    assert dict(message["headers"]) == {"deeplens-event-id": b"e1"} | headers


def test_each_delivery_is_reported_by_itself(publisher: KafkaPublisher) -> None:
    publisher._producer.lost = {b"2"}  # type: ignore[attr-defined]
    assert publisher.resend([record(value=b"1"), record(value=b"2"), record(value=b"3")]) == [True, False, True]


@pytest.mark.parametrize(("full", "expected"), [(1, [True]), (2, [False])])
def test_a_full_buffer_is_tried_once_more(publisher: KafkaPublisher, full: int, expected: list[bool]) -> None:
    publisher._producer.full = full  # type: ignore[attr-defined]
    assert publisher.resend([record()]) == expected


def test_whatsapps_topic_has_the_name_that_the_installation_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Producer", ScriptedProducer)
    named = KafkaPublisher(Settings(kafka_brokers="127.0.0.1:9", kafka_topic="chats"))
    message = WhatsAppMessage(message_id="m", chat_jid="c", from_me=False, message_type="text", timestamp=0)
    assert named.publish([OutgoingMessage(message, "e1"), OutgoingMessage(USAGE, "e2")]) == [True, True]
    assert named.resend([record(topic="whatsapp-ready-messages")]) == [True]
    assert [one["topic"] for one in sent(named)] == ["chats", "deeplens.tenant.usage", "chats"]


def test_every_topic_begins_with_the_prefix_of_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Producer", ScriptedProducer)
    named = KafkaPublisher(Settings(kafka_brokers="127.0.0.1:9", kafka_topic="chats", name_prefix="dev-"))
    assert named.publish([OutgoingMessage(USAGE, "e1")]) == [True]
    assert named.resend([record(topic="whatsapp-ready-messages")]) == [True]
    assert [one["topic"] for one in sent(named)] == ["dev-deeplens.tenant.usage", "dev-chats"]


def test_a_closed_publisher_connects_again_when_it_is_used(publisher: KafkaPublisher) -> None:
    first = publisher._producer
    publisher.close()
    assert publisher._producer is not first
