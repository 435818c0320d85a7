"""Sending events: one producer per execution environment, every delivery report checked."""

import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from deeplens.common.outgoing import OutgoingMessage, OutgoingRecord
from deeplens.errors import BrokerUnavailable
from deeplens.events.topics import broker_topic_name, topic_of
from deeplens.kafka.connection import client_config
from deeplens.kafka.records import ATTEMPT, EVENT_ID, REPLAYS, STAGE, TRACEPARENT
from deeplens.kafka.spans import send_span
from deeplens.settings import Settings
from deeplens.telemetry import tracing
from deeplens.telemetry.conventions import ids_of
from deeplens.telemetry.instruments import SENT
from deeplens.telemetry.metrics import record as record_metric
from deeplens.telemetry.metrics import timed


class KafkaPublisher:
    """``EventPublisher`` on librdkafka.

    Idempotence needs ``acks=all``; ``delivery.timeout.ms`` bounds how long a flush can take.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self._made: Producer | None = None

    @property
    def _producer(self) -> Producer:
        """The one producer. Two threads must not create it, as creating it may wait for a token."""
        with self._lock:
            if self._made is None:
                self._made = Producer(_producer_config(self._settings))
            return self._made

    def connect(self) -> None:
        """Begin to connect in the background, so that the first publish need not wait for it."""
        if self._settings.kafka_brokers:
            threading.Thread(target=self._try_to_connect, name="connect", daemon=True).start()

    def _try_to_connect(self) -> None:
        with suppress(KafkaException):
            self._producer.poll(0)

    def close(self) -> None:
        """Close the connections to the broker; the next use opens new ones."""
        with self._lock:
            self._made = None

    def ping(self) -> None:
        try:
            self._producer.list_topics(timeout=3)
        except KafkaException as error:
            raise BrokerUnavailable(str(error.args[0])) from error

    def publish(self, messages: Sequence[OutgoingMessage]) -> list[bool]:
        return self.resend([_record(message) for message in messages])

    def resend(self, records: Sequence[OutgoingRecord]) -> list[bool]:
        delivered = [False] * len(records)
        spans = [send_span(record) for record in records]
        for position, (record, span) in enumerate(zip(records, spans, strict=True)):
            sent = replace(record, traceparent=span.traceparent) if span.traceparent else record
            self._send(sent, position, delivered)
        # A message librdkafka still holds after the deadline counts as not delivered: its record comes again.
        with timed("kafka"), suppress(KafkaException):
            self._producer.flush(self._settings.publish_timeout_seconds + 1)
        for span, arrived in zip(spans, delivered, strict=True):
            if not arrived:
                span.fail("undelivered")
            tracing.end(span)
        for (topic, arrived), count in Counter(zip(map(self._topic, records), delivered, strict=True)).items():
            record_metric(SENT, count, topic=topic, error="" if arrived else "undelivered")
        return delivered

    def _topic(self, record: OutgoingRecord) -> str:
        return broker_topic_name(record.topic, self._settings.kafka_topic, self._settings.name_prefix)

    def _send(self, record: OutgoingRecord, position: int, delivered: list[bool]) -> None:
        def on_delivery(error: KafkaError | None, _: Message) -> None:
            delivered[position] = error is None

        topic = self._topic(record)
        # The queue may be full: once, deliveries are awaited before the record is given to it again.
        for seconds_to_wait in (1, 0):
            try:
                self._producer.produce(
                    topic, key=record.key, value=record.value, headers=_headers(record), on_delivery=on_delivery
                )
            except BufferError:
                self._producer.poll(seconds_to_wait)
            except KafkaException:
                return
            else:
                return


def _record(message: OutgoingMessage) -> OutgoingRecord:
    event, topic = message.event, topic_of(message.event).name
    return OutgoingRecord(
        topic,
        event.key.encode(),
        event.to_wire(),
        message.event_id,
        message.event.traceparent or message.traceparent,
        links=message.links,
        subject=ids_of(event),
    )


def _headers(record: OutgoingRecord) -> list[tuple[str, str | bytes | None]]:
    """Return the headers with a value; a first attempt without replays carries no counts."""
    given = {
        EVENT_ID: record.event_id,
        TRACEPARENT: record.traceparent,
        ATTEMPT: str(record.attempt) if record.attempt > 1 else None,
        REPLAYS: str(record.replays) if record.replays else None,
        STAGE: record.stage,
    }
    return [(name, value.encode()) for name, value in given.items() if value]


def _producer_config(settings: Settings) -> dict[str, Any]:
    return client_config(settings) | {
        "acks": "all",
        "enable.idempotence": True,
        "compression.type": "lz4",
        "linger.ms": 2,
        "delivery.timeout.ms": int(settings.publish_timeout_seconds * 1000),
        "message.max.bytes": 1_000_000,
    }
