"""The delay queue: messages that become visible after at most 15 minutes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from deeplens.common.backoff import LONGEST_HOP_SECONDS
from deeplens.errors import QueueUnavailable
from deeplens.events.failures import Retry
from deeplens.telemetry import conventions as names
from deeplens.telemetry import tracing
from deeplens.telemetry.conventions import Kind

MAX_MESSAGES, MAX_BYTES = 10, 250_000
"""Of one ``SendMessageBatch``."""


@dataclass(frozen=True, slots=True)
class SqsRetryQueue:
    """``RetryQueue`` on SQS; its client is made when it is first needed."""

    client: Callable[[], Any]
    url: str

    def send(self, retries: Sequence[Retry], now: datetime) -> list[bool]:
        if not self.url:
            raise QueueUnavailable("RETRY_QUEUE_URL is not set")
        entries = [
            {"Id": str(n), "MessageBody": retry.to_wire().decode(), "DelaySeconds": hop_seconds(retry.due, now)}
            for n, retry in enumerate(retries)
        ]
        kept: set[int] = set()
        attributes = {names.SYSTEM: "aws_sqs", names.OPERATION_NAME: "send", names.OPERATION_TYPE: "send"}
        with tracing.about(*retries), tracing.span("send delay queue", Kind.PRODUCER, attributes):
            self._send(entries, kept)
        return [position in kept for position in range(len(retries))]

    def _send(self, entries: Sequence[dict[str, Any]], kept: set[int]) -> None:
        """Send the entries, and note the ids of those that the queue has."""
        try:
            for group in _groups(entries):
                answer = self.client().send_message_batch(QueueUrl=self.url, Entries=group)
                kept |= {int(entry["Id"]) for entry in answer.get("Successful", [])}
        except (BotoCoreError, ClientError) as error:
            if not kept:
                raise QueueUnavailable(f"{type(error).__name__}: {error}"[:300]) from error


def hop_seconds(due: datetime, now: datetime) -> int:
    """How long a message waits this time: whole seconds, rounded up so that it is due when it comes."""
    return min(LONGEST_HOP_SECONDS, max(0, math.ceil((due - now).total_seconds())))


def _groups(entries: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """As many messages per request as SQS takes, by count and by bytes."""
    groups: list[list[dict[str, Any]]] = []
    free = 0
    for entry in entries:
        size = len(entry["MessageBody"].encode())
        if not groups or len(groups[-1]) == MAX_MESSAGES or size > free:
            groups.append([])
            free = MAX_BYTES
        groups[-1].append(entry)
        free -= size
    return groups
