"""Sending events: one producer per execution environment, every delivery report checked."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from deeplens.domain import OutgoingMessage
from deeplens.errors import BrokerUnavailable
from deeplens.kafka.connection import client_config
from deeplens.kafka.records import EVENT_ID, TRACEPARENT
from deeplens.settings import Settings
from deeplens.topics import topic_of


class KafkaPublisher:
    """``EventPublisher`` on librdkafka.

    Idempotence needs ``acks=all``; ``delivery.timeout.ms`` bounds how long a flush can take.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self._made: Producer | None = None

    @property
    def _producer(self) -> Producer:
        """The one producer. Making it may wait for a token, so two threads must not begin to."""
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

    def ping(self) -> None:
        try:
            self._producer.list_topics(timeout=3)
        except KafkaException as error:
            raise BrokerUnavailable(str(error.args[0])) from error

    def publish(self, messages: Sequence[OutgoingMessage]) -> list[bool]:
        delivered = [False] * len(messages)
        for position, message in enumerate(messages):
            self._send(message, position, delivered)
        # A message librdkafka still holds after the deadline counts as not delivered: its record comes again.
        with suppress(KafkaException):
            self._producer.flush(self._settings.publish_timeout_seconds + 1)
        return delivered

    def _send(self, message: OutgoingMessage, position: int, delivered: list[bool]) -> None:
        def on_delivery(error: KafkaError | None, _: Message) -> None:
            delivered[position] = error is None

        arguments: dict[str, Any] = {
            "key": message.event.key.encode(),
            "value": message.event.to_wire(),
            "headers": _headers(message),
            "on_delivery": on_delivery,
        }
        topic = topic_of(message.event).name
        try:
            self._producer.produce(topic, **arguments)
        except BufferError:
            self._producer.poll(1)
            self._retry(topic, arguments)
        except KafkaException:
            return

    def _retry(self, topic: str, arguments: dict[str, Any]) -> None:
        try:
            self._producer.produce(topic, **arguments)
        except (BufferError, KafkaException):
            return


def _headers(message: OutgoingMessage) -> list[tuple[str, bytes]]:
    headers = [(EVENT_ID, message.event_id.encode())]
    return [*headers, (TRACEPARENT, message.traceparent.encode())] if message.traceparent else headers


def _producer_config(settings: Settings) -> dict[str, Any]:
    return client_config(settings) | {
        "acks": "all",
        "enable.idempotence": True,
        "compression.type": "lz4",
        "linger.ms": 2,
        "delivery.timeout.ms": int(settings.publish_timeout_seconds * 1000),
        "message.max.bytes": 1_000_000,
    }
