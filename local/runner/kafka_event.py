"""Convert Kafka records to Lambda's MSK event: https://docs.aws.amazon.com/lambda/latest/dg/with-msk.html"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """A polled record."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp_type: str = "CREATE_TIME"

    @property
    def topic_partition(self) -> str:
        return f"{self.topic}-{self.partition}"

    @property
    def size(self) -> int:
        """An upper estimate of the record's bytes in the event, where a header's byte is a decimal number."""
        headers = sum(len(name) + 8 + 6 * len(value or b"") for name, value in self.headers)
        return (len(self.key or b"") + len(self.value or b"")) * 4 // 3 + 300 + headers


def record_of(message: Message) -> KafkaRecord:
    by_broker = message.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME
    return KafkaRecord(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        _bytes(message.key()),
        _bytes(message.value()),
        tuple((str(header[0]), _bytes(header[1])) for header in message.headers() or []),
        "LOG_APPEND_TIME" if by_broker else "CREATE_TIME",
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def lambda_event(records: Sequence[KafkaRecord], stream_arn: str, brokers: str) -> dict[str, Any]:
    """Return the MSK event: key and value in base64, header values as lists of signed bytes.

    AWS's pages show ASCII only; its poller is Java, whose bytes are signed, and Powertools' ``decode_header_bytes``
    exists because of that.
    """
    by_partition: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_partition.setdefault(record.topic_partition, []).append(_event_record(record))
    return {
        "eventSource": "aws:kafka",
        "eventSourceArn": stream_arn,
        "bootstrapServers": brokers,
        "records": by_partition,
    }


def _event_record(record: KafkaRecord) -> dict[str, Any]:
    event = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
        "timestampType": record.timestamp_type,
        "headers": [{name: [b - 256 if b > 127 else b for b in value or b""]} for name, value in record.headers],
    }
    for name, value in (("key", record.key), ("value", record.value)):
        event[name] = None if value is None else base64.b64encode(value).decode()
    return event
