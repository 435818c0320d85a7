"""The delay queue in memory, with messages as Lambda receives them."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from deeplens.errors import QueueUnavailable
from deeplens.events.failures import Retry

ARN = "arn:aws:sqs:us-east-1:000000000000:RetryQueue"


def message(body: str, message_id: str = "1", arn: str = ARN) -> dict[str, Any]:
    return {"messageId": message_id, "body": body, "eventSource": "aws:sqs", "eventSourceARN": arn}


class FakeRetryQueue:
    """``RetryQueue`` whose ``messages`` tests may read; it delays nothing by itself."""

    def __init__(self) -> None:
        self.messages: dict[str, Retry] = {}
        self.away = False
        self._ids = itertools.count(1)

    def send(self, retries: Sequence[Retry], now: datetime) -> list[bool]:
        if self.away:
            raise QueueUnavailable("away")
        self.messages |= {str(next(self._ids)): retry for retry in retries}
        return [True] * len(retries)

    def receive(self) -> list[dict[str, Any]]:
        return [message(retry.to_wire().decode(), number) for number, retry in self.messages.items()]

    def answer(self, received: Sequence[Mapping[str, Any]], answer: Mapping[str, Any]) -> None:
        """Delete what an invocation was given and has not named as failed."""
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        for message_id in {one["messageId"] for one in received} - failed:
            self.messages.pop(message_id, None)
