"""Messages to the queue of the buckets' notifications, and what its refusals mean."""

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from deeplens.errors import QueueUnavailable
from deeplens.events.bucket import BucketNotification, ObjectLocation
from deeplens.uploads.queue import MAX_MESSAGES, SqsObjectQueue


class Sqs:
    """The one call of SQS; ``answer`` is returned, or raised."""

    def __init__(self, answer: Any) -> None:
        self._answer, self.batches = answer, list[list[dict[str, str]]]()

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> Any:
        assert QueueUrl == "https://queue"
        self.batches.append(Entries)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def locations(count: int) -> list[ObjectLocation]:
    return [ObjectLocation(source="nfs", bucket="tenant", key=f"uploads/upl_{number}") for number in range(count)]


def test_messages_are_sent_in_groups_that_the_queue_takes() -> None:
    sqs, sent = Sqs({}), locations(MAX_MESSAGES + 1)
    SqsObjectQueue(lambda: sqs, "https://queue").send(sent)
    assert [len(batch) for batch in sqs.batches] == [MAX_MESSAGES, 1]
    found = [BucketNotification.model_validate_json(entry["MessageBody"]) for batch in sqs.batches for entry in batch]
    assert [location.key for notification in found for location in notification.created] == [at.key for at in sent]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (EndpointConnectionError(endpoint_url="https://queue"), "EndpointConnectionError"),
        ({"Failed": [{"Id": "0", "Message": "too many"}]}, "too many"),
        ({"Failed": [{"Id": "0"}]}, "a message was refused"),
    ],
)
def test_a_message_that_is_not_taken_is_an_outage(answer: Any, reason: str) -> None:
    with pytest.raises(QueueUnavailable, match=reason):
        SqsObjectQueue(lambda: Sqs(answer), "https://queue").send(locations(1))


def test_without_an_address_nothing_can_be_sent() -> None:
    with pytest.raises(QueueUnavailable, match="OBJECT_QUEUE_URL is not set"):
        SqsObjectQueue(lambda: None, "").send(locations(1))
