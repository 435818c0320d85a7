"""The delay queue on SQS: what is sent, in which groups, and what its answers mean."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from deeplens.common.backoff import MAX_RETRIED_BYTES
from deeplens.errors import QueueUnavailable
from deeplens.events.failures import Retry, SourceRecord
from deeplens.failures.queue import MAX_BYTES, SqsRetryQueue, hop_seconds

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
URL = "http://127.0.0.1:4566/000000000000/RetryQueue"


class Client:
    """SQS's ``SendMessageBatch``; refuses messages whose id is in ``refused``, fails from the ``broken``-th call on."""

    def __init__(self, refused: tuple[str, ...] = (), broken: int = 99, error: Exception | None = None) -> None:
        self.calls: list[dict[str, Any]] = []
        self._refused, self._broken = refused, broken
        self._error = error or EndpointConnectionError(endpoint_url=URL)

    def send_message_batch(self, **call: Any) -> dict[str, Any]:
        if len(self.calls) + 1 >= self._broken:
            raise self._error
        self.calls.append(call)
        ids = [entry["Id"] for entry in call["Entries"]]
        failed = [{"Id": entry_id, "Code": "InternalError"} for entry_id in ids if entry_id in self._refused]
        return {"Successful": [{"Id": entry_id} for entry_id in ids if entry_id not in self._refused], "Failed": failed}


def retry(seconds: float = 60, value: str = "e30=") -> Retry:
    record = SourceRecord(topic="deeplens.images.uploaded", partition=1, offset=7, value=value, event_id="e1")
    return Retry(record=record, attempt_number=2, due=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-60, 0), (0, 0), (0.001, 1), (1, 1), (59.5, 60), (900, 900), (901, 900), (86_400, 900)],
)
def test_hop_seconds(seconds: float, expected: int) -> None:
    assert hop_seconds(NOW + timedelta(seconds=seconds), NOW) == expected


def test_a_message_holds_the_record_and_is_delayed_until_it_is_due() -> None:
    client = Client()
    assert SqsRetryQueue(lambda: client, URL).send([retry(90)], NOW) == [True]

    (call,) = client.calls
    (entry,) = call["Entries"]
    assert call["QueueUrl"] == URL
    assert entry["DelaySeconds"] == 90
    assert Retry.model_validate_json(entry["MessageBody"]) == retry(90)


def test_many_are_sent_in_groups_that_sqs_takes() -> None:
    client = Client()
    assert SqsRetryQueue(lambda: client, URL).send([retry() for _ in range(25)], NOW) == [True] * 25
    assert [len(call["Entries"]) for call in client.calls] == [10, 10, 5]


def test_large_records_are_sent_in_smaller_groups() -> None:
    client = Client()
    large = retry(value="A" * MAX_RETRIED_BYTES)
    assert SqsRetryQueue(lambda: client, URL).send([large, retry(), large, large], NOW) == [True] * 4

    sizes = [sum(len(entry["MessageBody"]) for entry in call["Entries"]) for call in client.calls]
    assert [len(call["Entries"]) for call in client.calls] == [2, 1, 1]
    assert max(sizes) <= MAX_BYTES


def test_what_sqs_refuses_is_told_apart() -> None:
    client = Client(refused=("1", "11"))
    kept = SqsRetryQueue(lambda: client, URL).send([retry() for _ in range(12)], NOW)
    assert [position for position, one in enumerate(kept) if not one] == [1, 11]


def test_what_was_sent_before_a_fault_is_not_sent_again() -> None:
    client = Client(broken=2)
    assert SqsRetryQueue(lambda: client, URL).send([retry() for _ in range(12)], NOW) == [True] * 10 + [False] * 2


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url=URL),
        ClientError({"Error": {"Code": "AWS.SimpleQueueService.NonExistentQueue"}}, "SendMessageBatch"),
    ],
    ids=["away", "forgotten"],
)
def test_a_queue_that_is_away_or_gone_makes_records_wait(error: Exception) -> None:
    with pytest.raises(QueueUnavailable):
        SqsRetryQueue(lambda: Client(broken=1, error=error), URL).send([retry()], NOW)


def test_without_a_queue_records_wait_as_well() -> None:
    with pytest.raises(QueueUnavailable, match="RETRY_QUEUE_URL"):
        SqsRetryQueue(Client, "").send([retry()], NOW)


def test_nothing_to_send_asks_nobody() -> None:
    client = Client()
    assert SqsRetryQueue(lambda: client, URL).send([], NOW) == []
    assert client.calls == []
