"""Kafka records, SQS messages and schedules become the events that Lambda sends."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes import KafkaEvent as PowertoolsKafkaEvent
from aws_lambda_powertools.utilities.kafka.consumer_records import ConsumerRecords

from local.runner.kafka_event import KafkaRecord, lambda_event
from local.runner.schedule_source import ScheduleSource, schedule, schedule_event
from local.runner.sqs_source import sqs_record, succeeded
from local.runner.template import ScheduleEvent, TemplateError

RECORDS = [
    KafkaRecord(
        "t", 0, 15, 1545084650987, b"key", b'{"a": 1}', (("traceparent", b"00-ab"), ("raw", b"\x00\x7f\x80\xff"))
    ),
    KafkaRecord("t", 1, 7, 1545084650988, None, None),
    KafkaRecord("t", 0, 16, 1545084650989, b"", b"", (("none", None),), "LOG_APPEND_TIME"),
]


def test_records_are_grouped_by_topic_and_partition_in_order() -> None:
    event = lambda_event(RECORDS, "arn:cluster", "a:1,b:2")
    assert {name: [record["offset"] for record in group] for name, group in event.pop("records").items()} == {
        "t-0": [15, 16],
        "t-1": [7],
    }
    assert event == {"eventSource": "aws:kafka", "eventSourceArn": "arn:cluster", "bootstrapServers": "a:1,b:2"}


def test_a_record_carries_base64_and_signed_header_bytes() -> None:
    assert lambda_event(RECORDS, "", "")["records"]["t-0"][0] == {
        "topic": "t",
        "partition": 0,
        "offset": 15,
        "timestamp": 1545084650987,
        "timestampType": "CREATE_TIME",
        "key": "a2V5",
        "value": "eyJhIjogMX0=",
        "headers": [{"traceparent": [48, 48, 45, 97, 98]}, {"raw": [0, 127, -128, -1]}],
    }


def test_missing_and_empty_keys_and_values_are_distinguished() -> None:
    records = lambda_event(RECORDS, "", "")["records"]
    assert (records["t-1"][0]["key"], records["t-1"][0]["value"]) == (None, None)
    assert (records["t-0"][1]["key"], records["t-0"][1]["value"]) == ("", "")
    assert records["t-0"][1]["timestampType"] == "LOG_APPEND_TIME"


def test_powertools_parses_the_event() -> None:
    event = lambda_event(RECORDS, "arn:cluster", "a:1,b:2")
    record = next(PowertoolsKafkaEvent(event).records)
    assert record.json_value == {"a": 1}
    assert record.decoded_key == b"key"
    headers = next(ConsumerRecords(event).records).headers
    assert headers["raw"] == b"\x00\x7f\x80\xff"
    assert headers["TraceParent"] == b"00-ab"


def test_the_size_of_a_record_is_not_underestimated() -> None:
    for record in RECORDS:
        assert record.size >= len(str(lambda_event([record], "", "")["records"]))


def sqs_message(number: int, **extra: Any) -> dict[str, Any]:
    return {"MessageId": f"m{number}", "ReceiptHandle": f"r{number}", "Body": "{}", **extra}


def test_a_message_has_lambdas_shape() -> None:
    attributes = {
        "text": {"DataType": "String", "StringValue": "x"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    message = sqs_message(1, MD5OfBody="md5", Attributes={"SentTimestamp": "1"}, MessageAttributes=attributes)
    lists: dict[str, list[str]] = {"stringListValues": [], "binaryListValues": []}
    assert sqs_record(message, "retries", "eu-west-1") == {
        "messageId": "m1",
        "receiptHandle": "r1",
        "body": "{}",
        "attributes": {"SentTimestamp": "1"},
        "messageAttributes": {
            "text": {"dataType": "String", "stringValue": "x", **lists},
            "raw": {"dataType": "Binary", "binaryValue": "AP8=", **lists},
        },
        "md5OfBody": "md5",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:retries",
        "awsRegion": "eu-west-1",
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, ["m0", "m1", "m2"]),
        ({"batchItemFailures": []}, ["m0", "m1", "m2"]),
        ({"batchItemFailures": [{"itemIdentifier": "m1"}]}, ["m0", "m2"]),
        ({"batchItemFailures": [{"itemIdentifier": "m9"}]}, []),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, []),
        ({"batchItemFailures": [{"id": "m1"}]}, []),
        ({"other": 1}, []),
        ("text", []),
    ],
)
def test_only_messages_that_succeeded_are_deleted(answer: Any, expected: list[str]) -> None:
    messages = [sqs_message(number) for number in range(3)]
    assert [message["MessageId"] for message in succeeded(messages, answer)] == expected


NOON = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)
"""A Friday."""


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("rate(1 minute)", "2026-11-20 12:01:30"),
        ("rate(5 minutes)", "2026-11-20 12:05:30"),
        ("rate(2 days)", "2026-11-22 12:00:30"),
        ("cron(0 3 * * ? *)", "2026-11-21 03:00:00"),
        ("cron(0/15 * * * ? *)", "2026-11-20 12:15:00"),
        ("cron(30 12 ? * MON-FRI *)", "2026-11-20 12:30:00"),
        ("cron(0 8 ? * 2 *)", "2026-11-23 08:00:00"),
        ("cron(5,35 0 1 JAN ? *)", "2027-01-01 00:05:00"),
        ("cron(0 0 29 2 ? *)", "2028-02-29 00:00:00"),
    ],
)
def test_schedules_are_due_when_eventbridge_would_be(expression: str, due: str) -> None:
    assert str(schedule(expression)(NOON)) == f"{due}+00:00"


@pytest.mark.parametrize(
    "expression", ["cron(0 3 L * ? *)", "cron(0 3 * *)", "rate(1 fortnight)", "rate(0 minutes)", "every minute"]
)
def test_an_unsupported_schedule_is_named(expression: str) -> None:
    with pytest.raises(TemplateError) as caught:
        schedule(expression)
    assert expression in str(caught.value)


def test_a_schedule_that_is_never_due_is_named() -> None:
    with pytest.raises(TemplateError, match="never due"):
        schedule("cron(0 0 31 2 ? *)")(NOON)


def test_a_schedule_that_is_never_due_stops_the_start() -> None:
    pool: Any = SimpleNamespace(spec=SimpleNamespace(name="on_schedule"))
    with pytest.raises(TemplateError, match="never due"):
        ScheduleSource(ScheduleEvent("cron(0 0 30 2 ? *)", ""), pool, print)


def test_a_schedule_sends_the_schedulers_event() -> None:
    event = schedule_event()
    assert (event["source"], event["detail-type"]) == ("aws.scheduler", "Scheduled Event")
    assert event["time"].endswith("Z")
