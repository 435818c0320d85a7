"""Records of a topic as operators may see them: ids, times and codes; payloads only where they ask for them."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from deeplens.kafka.connection import client_config
from deeplens.kafka.records import ATTEMPT, EVENT_ID, REPLAYS, STAGE, TRACEPARENT
from deeplens.settings import Settings

from local.operations.broker import explained, explaining
from local.operations.topics import TopicState

IDS = ("tenantId", "imageId", "videoId", "deadLetterId", "deliveryId", "runId")
WORDS = ("status", "stage", "subject", "type", "maintenanceType", "messageType", "model", "modelVersion", "metric")
NUMBERS = ("attemptNumber", "generation", "sizeBytes", "dimensions", "quantity", "processingTime")
TIMES = ("occurredAt", "uploadedAt", "requestedAt", "extractedAt", "completedAt", "failedAt", "due")
ID = re.compile(r"(tenant|img|vid|dlq|mnt|pair|dup|mrg|rol|upl|whk|dlv)_[a-z0-9_]{1,40}")
WORD = re.compile(
    r"[A-Za-z][A-Za-z_-]{0,39}|\d{1,9}"
    # Notifications and metrics.
    r"|(image|video|duplicates|whatsapp|usage)\.(completed|failed|found|message|budget)"
    r"|(images|videos|bytes|inference|api|egress|storage)\.(uploaded|completed|ms|requests|bytes|images)"
)
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]{5,16}(Z|[+-]\d\d:\d\d)")
KEY = re.compile(r"tenant_[a-z0-9_]{1,40}(:(img|vid)_[a-z0-9]{1,40})?")
HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
HIDDEN = "…"
HEADERS = {
    EVENT_ID: "eventId",
    ATTEMPT: "attempt",
    REPLAYS: "replays",
    STAGE: "onlyStage",
    TRACEPARENT: "traceparent",
}
POLL_SECONDS = 0.2
CONSUMER = {
    # A group is required, but not joined: partitions are assigned, and nothing is committed.
    "group.id": "deeplens-tail",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "log_level": 0,
}


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """A record as it was read."""

    partition: int
    offset: int
    at: datetime | None
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]

    def payload(self) -> Any:
        """The value: JSON if it is, else its base64."""
        if self.value is None:
            return None
        try:
            return json.loads(self.value)
        except ValueError:
            return {"base64": b64encode(self.value).decode()}


def summary(record: TopicRecord, *, payloads: bool = False) -> dict[str, Any]:
    """What may be shown of a record.

    Only fields that are listed above, and only if their values look like ids, words, numbers or times: anybody may
    have written the record. ``payloads`` adds key and value as they are.
    """
    value = record.payload()
    key = (record.key or b"").decode(errors="replace")
    shown = {
        "partition": record.partition,
        "offset": record.offset,
        "at": record.at.isoformat() if record.at else None,
        "key": key if payloads or not key or KEY.fullmatch(key) else HIDDEN,
        **_headers(record.headers),
        **fields_of(value),
        "bytes": len(record.value or b""),
    }
    return {**shown, "payload": value} if payloads else shown


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of an event that name no file, address, text or secret."""
    if not isinstance(value, dict):
        return {}
    patterns = [*((name, ID) for name in IDS), *((name, WORD) for name in WORDS), *((name, TIME) for name in TIMES)]
    shown = {name: value[name] for name, pattern in patterns if _matches(value.get(name), pattern)}
    shown |= {name: value[name] for name in NUMBERS if type(value.get(name)) in (int, float)}
    error = value.get("error")
    if isinstance(error, dict) and _matches(error.get("code"), WORD):
        shown["errorCode"] = error["code"]
    return shown


def wanted(record: TopicRecord, tenant: str, image: str) -> bool:
    """Whether a record is about this tenant and this image; empty is any."""
    if not (tenant or image):
        return True
    value = record.payload()
    fields = value if isinstance(value, dict) else {}
    return tenant in ("", fields.get("tenantId")) and image in ("", fields.get("imageId"))


def read(settings: Settings, topic: TopicState, *, beginning: bool, follow: bool) -> Iterator[TopicRecord]:
    """Records of a topic, outside any consumer group.

    Parameters
    ----------
    beginning : start at the oldest record of each partition, else at the next one.
    follow : go on with new records, else end where the topic ended when the state was read.
    """
    partitions = [part for part in topic.partitions if part.first is not None and part.next is not None]
    starts = {part.number: (part.first if beginning else part.next) or 0 for part in partitions}
    ends = {part.number: part.next or 0 for part in partitions if starts[part.number] < (part.next or 0)}
    consumer = Consumer(client_config(settings) | CONSUMER)
    try:
        with explaining(f"reading {topic.name}"):
            consumer.assign([TopicPartition(topic.name, number, start) for number, start in starts.items()])
            while follow or ends:
                message = consumer.poll(POLL_SECONDS)
                if message is None:
                    continue
                if (error := message.error()) and error.code() != KafkaError._PARTITION_EOF:
                    raise explained(f"reading {topic.name}", error)
                number = message.partition() or 0
                offset, end = message.offset() or 0, ends.get(number, 0)
                if not error and (follow or offset < end):
                    yield _record(message)
                if error or offset + 1 >= end:
                    ends.pop(number, None)
    finally:
        consumer.close()


def _record(message: Message) -> TopicRecord:
    kind, milliseconds = message.timestamp()
    headers: list[tuple[str, bytes]] = message.headers() or []  # type: ignore[assignment]
    return TopicRecord(
        message.partition() or 0,
        message.offset() or 0,
        datetime.fromtimestamp(milliseconds / 1000, UTC) if kind else None,
        message.key(),
        message.value(),
        {name.lower(): value for name, value in headers if value},
    )


def _headers(headers: Mapping[str, bytes]) -> dict[str, str]:
    """The headers of DeepLens, by shorter names."""
    found = {shown: headers.get(name, b"").decode(errors="replace") for name, shown in HEADERS.items()}
    return {name: value for name, value in found.items() if HEADER.fullmatch(value)}


def _matches(value: Any, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
