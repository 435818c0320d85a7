"""SQS event source on LocalStack: long polls, partial batch responses, deletes what is done."""

import threading
from collections.abc import Callable
from typing import Any

from local.runner.template import SqsEvent
from local.runner.worker import Pool


class SqsSource:
    """Feeds one function from one queue; a message that fails stays and comes again, until the queue redrives it."""

    def __init__(self, event: SqsEvent, pool: Pool, client: Any, log: Callable[[str], None]) -> None:
        self._event, self._pool, self._client, self._log = event, pool, client, log
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"poll {event.queue}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(3)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._poll()
            except Exception as error:
                self._log(f"{self._event.queue}: {error}")
                self._stopping.wait(1)

    def _poll(self) -> None:
        answer = self._client.receive_message(
            QueueUrl=self._event.queue,
            MaxNumberOfMessages=min(10, self._event.batch_size),
            WaitTimeSeconds=2,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        if not messages:
            return
        result = self._pool.invoke({"Records": [sqs_record(message, self._event.queue) for message in messages]})
        failed = {m["MessageId"] for m in messages} if result.failed else failed_ids(result.payload)
        for message in messages:
            if message["MessageId"] not in failed:
                self._client.delete_message(QueueUrl=self._event.queue, ReceiptHandle=message["ReceiptHandle"])


def sqs_record(message: dict[str, Any], queue: str) -> dict[str, Any]:
    """A message as Lambda receives it."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": message.get("MessageAttributes", {}),
        "md5OfBody": message.get("MD5OfBody", ""),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:000000000000:{queue.rpartition('/')[2]}",
        "awsRegion": "us-east-1",
    }


def failed_ids(response: Any) -> set[str]:
    """Ids of ``batchItemFailures``; nothing named means that all succeeded."""
    failures = response.get("batchItemFailures") if isinstance(response, dict) else None
    return {failure["itemIdentifier"] for failure in failures or []}
