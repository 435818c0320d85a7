"""Records of an MSK event, parsed one by one: a record that breaks its contract fails alone."""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid5

from aws_lambda_powertools.utilities.data_classes.kafka_event import KafkaEventRecord
from pydantic import ValidationError

from deeplens.common.event import Event
from deeplens.errors import InvalidEvent
from deeplens.events.failures import SourceRecord
from deeplens.events.ids import NAMESPACE

EVENT_ID, ATTEMPT, TRACEPARENT = "deeplens-event-id", "deeplens-attempt", "traceparent"
REPLAYS, STAGE = "deeplens-replays", "deeplens-stage"
TRACEPARENT_FORMAT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
MAX_KEPT_BYTES = 512 * 1024
"""A failure carries the value of its record up to this size, whose base64 still fits a message of 1 MB."""


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record as Lambda hands it over. ``key`` and ``value`` are base64, as they came.

    A message of a queue is one, too: it has an id, and its ``topic`` is the queue's name.

    Attributes
    ----------
    sent_at : seconds since the epoch; None where the source does not say it.
    """

    topic: str
    partition: int
    offset: int
    key: str | None
    value: str | None
    headers: Mapping[str, bytes]
    message_id: str | None = None
    sent_at: float | None = None

    @property
    def topic_partition(self) -> str:
        return f"{self.topic}-{self.partition}"

    @property
    def event_id(self) -> str:
        """The header's id, or one derived from the record's position."""
        position = self.message_id or f"{self.partition}/{self.offset}"
        return self._text(EVENT_ID) or str(uuid5(NAMESPACE, f"{self.topic}/{position}"))

    @property
    def attempt(self) -> int:
        return max(1, self._count(ATTEMPT))

    @property
    def stage(self) -> str | None:
        """The only consumer that the record is sent again for; None for all consumers of its topic."""
        return self._text(STAGE)

    @property
    def replays(self) -> int:
        return self._count(REPLAYS)

    def _text(self, header: str) -> str | None:
        given = self.headers.get(header, b"")
        return given.decode() if given and len(given) <= 64 and given.isascii() else None

    def _count(self, header: str) -> int:
        given = self.headers.get(header, b"")
        return int(given) if given.isdigit() and len(given) < 6 else 0

    @property
    def traceparent(self) -> str | None:
        given = self.headers.get(TRACEPARENT, b"")
        return given.decode() if TRACEPARENT_FORMAT.fullmatch(given) else None

    def source(self) -> SourceRecord:
        """The record as failures carry it; an oversized value is left to the topic's retention."""
        kept = self.value if self.value is not None and len(self.value) * 3 // 4 <= MAX_KEPT_BYTES else None
        return SourceRecord(
            topic=self.topic,
            partition=self.partition,
            offset=self.offset,
            key=self.key,
            value=kept,
            event_id=self.event_id,
            traceparent=self.traceparent,
            replays=self.replays or None,
        )


def records_of(event: Mapping[str, Any]) -> Iterator[Record]:
    """Every record of an event, which may mix partitions; of a queue's event, every message."""
    for message in event.get("Records", []):
        queue = message["eventSourceARN"].rpartition(":")[2]
        body = b64encode(message["body"].encode(errors="replace")).decode()
        sent = message.get("attributes", {}).get("SentTimestamp")
        yield Record(queue, 0, 0, None, body, {}, message["messageId"], _seconds(sent))
    for records in event.get("records", {}).values():
        for record in records:
            position = record["topic"], record["partition"], record["offset"]
            sent_at = _seconds(record.get("timestamp"))
            yield Record(*position, record.get("key"), record.get("value"), _headers(record), sent_at=sent_at)


def _seconds(milliseconds: Any) -> float | None:
    return int(milliseconds) / 1000 if str(milliseconds).isdecimal() else None


def _headers(record: dict[str, Any]) -> dict[str, bytes]:
    """Headers by lower-cased name. Anyone may write to a topic, so unreadable headers count as absent."""
    try:
        return {name.lower(): value for name, value in KafkaEventRecord(record).decoded_headers.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def value_of(record: Record) -> bytes:
    """The raw value. Raises ``InvalidEvent`` for null and for what is not base64."""
    if record.value is None:
        raise InvalidEvent("the record's value is null")
    try:
        return KafkaEventRecord({"value": record.value}).decoded_value or b""
    except ValueError as error:
        raise InvalidEvent("the record's value is not base64") from error


def parse[E: Event](record: Record, contract: type[E]) -> E:
    """Parse the record's value. Raises ``InvalidEvent``, which names the invalid fields."""
    try:
        event = contract.model_validate_json(value_of(record))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors()[:5])
        raise InvalidEvent(f"not a {contract.__name__}: {faults}"[:1000]) from None
    return event.model_copy(update={"event_id": record.event_id, "traceparent": ""})
