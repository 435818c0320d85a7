"""Send records that an event source gives up to its failure destination, a Kafka topic or a bucket.

On a topic, records keep their key and value, and headers describe the failure. A bucket receives Lambda's invocation
record with the event as payload:
https://docs.aws.amazon.com/lambda/latest/dg/kafka-on-failure.html
"""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka import Producer

from local.runner.kafka_event import KafkaRecord, lambda_event
from local.runner.template import KafkaEvent
from local.runner.worker import Result


class FailureDestination:
    """Send records to ``kafka://topic``, or for a bucket's ARN write them as a file below ``folder``."""

    def __init__(self, brokers: str, folder: Path, timeout_seconds: float = 10) -> None:
        self._brokers, self._folder, self._timeout_seconds = brokers, folder, timeout_seconds

    @cached_property
    def _producer(self) -> Producer:
        timeout_ms = int(self._timeout_seconds * 1000)
        return Producer({"bootstrap.servers": self._brokers, "acks": "all", "delivery.timeout.ms": timeout_ms})

    def close(self) -> None:
        """Close the connections to the broker, if there are any."""
        self.__dict__.pop("_producer", None)

    def send(self, records: Sequence[KafkaRecord], event: KafkaEvent, function: str, result: Result) -> None:
        """Send all records. Raises ``RuntimeError`` if any of them did not arrive."""
        if event.on_failure.startswith("kafka://"):
            self._to_topic(event.on_failure.removeprefix("kafka://"), records, function, result)
        else:
            self._to_folder(records, event, function, result)

    def _to_topic(self, topic: str, records: Sequence[KafkaRecord], function: str, result: Result) -> None:
        # Read once: two threads that arrive first at the same time may each create a producer.
        producer = self._producer
        reports: list[Any] = []
        for record in records:
            context = {
                "lambda-function": function,
                "lambda-error": json.dumps(result.error or {})[:1000],
                "source-topic": record.topic,
                "source-partition": str(record.partition),
                "source-offset": str(record.offset),
            }
            added: list[tuple[str, str | bytes | None]] = [(name, value.encode()) for name, value in context.items()]
            headers = [*record.headers, *added]
            producer.produce(
                topic, record.value, record.key, headers=headers, on_delivery=lambda e, _: reports.append(e)
            )
        producer.flush(self._timeout_seconds + 2)
        # Count the delivery reports, not the rest of the queue: another thread's flush may still be delivering ours.
        if missing := len(records) - reports.count(None):
            reasons = [str(error) for error in reports if error]
            raise RuntimeError(f"{missing} of {len(records)} records did not reach {topic}: {reasons[:1]}")

    def _to_folder(self, records: Sequence[KafkaRecord], event: KafkaEvent, function: str, result: Result) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        document = {
            "requestContext": {"functionArn": function, "condition": "RetryAttemptsExhausted"},
            "responseContext": {"functionError": result.error},
            "timestamp": datetime.now(UTC).isoformat(),
            "payload": lambda_event(records, event.stream_arn, self._brokers),
        }
        path = self._folder / f"{function}-{int(time.time() * 1000)}-{uuid4().hex[:8]}.json"
        path.write_text(json.dumps(document))
