"""SQS event source on LocalStack: long polling, partial batch responses, deletion of messages that succeeded."""

import base64
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from local.runner.template import SqsEvent
from local.runner.worker import Pool

POLL_SECONDS = 1
MAX_MESSAGES_PER_POLL = 10


class SqsSource:
    """Feed one function from one queue. A failed message stays, and is received again until the queue redrives it.

    Parameters
    ----------
    create_queues : creates the queue if it does not exist, as after a restart of LocalStack.
    """

    def __init__(
        self,
        event: SqsEvent,
        pool: Pool,
        client: Any,
        log: Callable[[str], None],
        create_queues: Callable[[], None] = lambda: None,
    ) -> None:
        self._event, self.pool, self._client, self._log = event, pool, client, log
        self._create_queues = create_queues
        self._url = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"poll {event.queue}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def join(self, seconds: float) -> bool:
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._url = self._url or self._queue_url()
                self._poll()
            except Exception as error:
                self._log(f"{self._event.queue}: {error!r}")
                if _is_missing(error):
                    self._try_to_create()
                self._stopping.wait(1)

    def _try_to_create(self) -> None:
        try:
            self._create_queues()
        except Exception as error:
            self._log(f"{self._event.queue} was not created: {error!r}")

    def _queue_url(self) -> str:
        queue = self._event.queue
        if queue.startswith("http"):
            return queue
        return str(self._client.get_queue_url(QueueName=queue.rpartition(":")[2])["QueueUrl"])

    def _poll(self) -> None:
        messages = self._receive_batch()
        if not messages:
            return
        name = self._url.rpartition("/")[2]
        region = self._client.meta.region_name
        result = self.pool.invoke({"Records": [sqs_record(message, name, region) for message in messages]})
        answer = result.payload if self._event.partial else None
        done = [] if result.failed else succeeded(messages, answer)
        for start in range(0, len(done), MAX_MESSAGES_PER_POLL):
            self._delete(done[start : start + MAX_MESSAGES_PER_POLL])

    def _receive_batch(self) -> list[dict[str, Any]]:
        """Receive messages until the batch is full or its window is over; none if the first poll finds none."""
        batch: list[dict[str, Any]] = self._receive(self._event.batch_size, POLL_SECONDS)
        deadline = time.monotonic() + self._event.window_seconds
        while batch and len(batch) < self._event.batch_size and not self._stopping.is_set():
            remaining_seconds = deadline - time.monotonic()
            if remaining_seconds <= 0:
                break
            batch += self._receive(self._event.batch_size - len(batch), min(POLL_SECONDS, int(remaining_seconds)))
        return batch

    def _receive(self, limit: int, wait_seconds: int) -> list[dict[str, Any]]:
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=min(MAX_MESSAGES_PER_POLL, limit),
            WaitTimeSeconds=wait_seconds,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return list(answer.get("Messages", []))

    def _delete(self, messages: Sequence[Mapping[str, Any]]) -> None:
        entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
        self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)


def _is_missing(error: Exception) -> bool:
    """Return whether SQS says that the queue does not exist; the error code differs between its two protocols."""
    code = str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", ""))
    return "NonExistentQueue" in code or "QueueDoesNotExist" in code


def sqs_record(message: Mapping[str, Any], queue: str, region: str) -> dict[str, Any]:
    """Return the record of a message in Lambda's event."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {n: _attribute(value) for n, value in message.get("MessageAttributes", {}).items()},
        "md5OfBody": message.get("MD5OfBody", ""),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{region}:000000000000:{queue}",
        "awsRegion": region,
    }


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    attribute: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
    if "StringValue" in value:
        attribute["stringValue"] = value["StringValue"]
    if "BinaryValue" in value:
        attribute["binaryValue"] = base64.b64encode(value["BinaryValue"]).decode()
    return attribute


def succeeded(messages: Sequence[Mapping[str, Any]], answer: Any) -> list[Mapping[str, Any]]:
    """Return the messages that ``batchItemFailures`` does not name; none if it names an unknown one, as on Lambda.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """
    if not answer:
        return list(messages)
    try:
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"] or []}
    except (KeyError, TypeError):
        return []
    if not failed <= {message["MessageId"] for message in messages}:
        return []
    return [message for message in messages if message["MessageId"] not in failed]
