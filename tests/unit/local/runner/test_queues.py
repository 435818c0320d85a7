"""Queues of a template have fixed addresses, and are created again after LocalStack lost them."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.runner.platform import Runner
from local.runner.queues import create_queues, queue_attributes, queue_values
from local.runner.sqs_source import SqsSource
from local.runner.template import SqsEvent

ROOT = Path(__file__).resolve().parents[4]
ENDPOINT = "http://127.0.0.1:4566"
TARGET = "arn:aws:sqs:us-east-1:000000000000:Last"
QUEUES: dict[str, dict[str, Any]] = {
    "First": {"VisibilityTimeout": 360, "RedrivePolicy": {"deadLetterTargetArn": TARGET, "maxReceiveCount": 100}},
    "Last": {"MessageRetentionPeriod": "1209600", "SqsManagedSseEnabled": True},
    "Named": {"QueueName": "other"},
}


class Sqs:
    """An SQS client with queues by name; received messages are not removed."""

    meta = SimpleNamespace(region_name="us-east-1")

    def __init__(self, code: str = "AWS.SimpleQueueService.NonExistentQueue") -> None:
        self.queues: dict[str, dict[str, str]] = {}
        self._code = code

    def create_queue(self, **call: Any) -> None:
        self.queues[call["QueueName"]] = call["Attributes"]

    def receive_message(self, **call: Any) -> dict[str, Any]:
        if call["QueueUrl"].rpartition("/")[2] not in self.queues:
            raise ClientError({"Error": {"Code": self._code}}, "ReceiveMessage")
        return {}


def test_names_and_addresses_are_the_same_at_every_start() -> None:
    values = queue_values(QUEUES, ENDPOINT, "us-east-1")
    assert values["First"] == f"{ENDPOINT}/000000000000/First"
    assert values["First.Arn"] == "arn:aws:sqs:us-east-1:000000000000:First"
    assert (values["Named"], values["Named.QueueName"]) == (f"{ENDPOINT}/000000000000/other", "other")


def test_attributes_are_those_that_create_queue_takes() -> None:
    assert queue_attributes(QUEUES["Last"]) == {"MessageRetentionPeriod": "1209600"}
    first = queue_attributes(QUEUES["First"])
    assert first["VisibilityTimeout"] == "360"
    assert json.loads(first["RedrivePolicy"]) == {"deadLetterTargetArn": TARGET, "maxReceiveCount": "100"}


def test_a_redrive_target_is_created_before_the_queue_that_names_it() -> None:
    sqs = Sqs()
    create_queues(sqs, QUEUES)
    assert list(sqs.queues) == ["Last", "other", "First"]


@pytest.mark.parametrize("code", ["AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"])
def test_a_queue_that_localstack_lost_is_created_again(code: str) -> None:
    sqs, lines, made = Sqs(code), list[str](), threading.Event()

    def recreate() -> None:
        create_queues(sqs, QUEUES)
        made.set()

    event = SqsEvent(f"{ENDPOINT}/000000000000/First", 10, 0, True)
    source = SqsSource(event, SimpleNamespace(), sqs, lines.append, recreate)  # type: ignore[arg-type]
    source.start()
    try:
        assert made.wait(5)
    finally:
        source.stop()
        assert source.join(5)
    assert "First" in sqs.queues
    assert code in lines[0]


def test_other_errors_create_no_queue() -> None:
    sqs, asked = Sqs("AccessDenied"), threading.Event()
    source = SqsSource(
        SqsEvent(f"{ENDPOINT}/0/First", 10, 0, True),
        SimpleNamespace(),  # type: ignore[arg-type]
        sqs,
        lambda _: asked.set(),
        lambda: create_queues(sqs, QUEUES),
    )
    source.start()
    assert asked.wait(5)
    source.stop()
    assert source.join(5)
    assert sqs.queues == {}


def test_functions_of_the_platform_are_given_the_delay_queues_address(tmp_path: Path) -> None:
    environment = {"KAFKA_BROKERS": "127.0.0.1:9", "AWS_ENDPOINT_URL": ENDPOINT}
    runner = Runner(
        ROOT / "template.yaml",
        environment=environment,
        state_dir=tmp_path,
        log_dir=tmp_path,
        host="127.0.0.1",
        ports=[8000],
    )
    given = {
        spec.name: spec.environment["RETRY_QUEUE_URL"]
        for spec in runner.template.functions
        if "RETRY_QUEUE_URL" in spec.environment
    }
    assert given == dict.fromkeys(("on_processing_failed", "on_retry_due"), f"{ENDPOINT}/000000000000/RetryQueue")
    target = runner.template.queues["RetryQueue"]["RedrivePolicy"]["deadLetterTargetArn"]
    assert target == "arn:aws:sqs:us-east-1:000000000000:UndeliverableRetries"


def test_the_schedule_is_given_the_topic_that_operators_listen_to(tmp_path: Path) -> None:
    def told_on(parameters: dict[str, str]) -> set[str]:
        runner = Runner(
            ROOT / "template.yaml",
            environment={"KAFKA_BROKERS": "127.0.0.1:9", "AWS_ENDPOINT_URL": ENDPOINT},
            state_dir=tmp_path,
            log_dir=tmp_path,
            host="127.0.0.1",
            ports=[8000],
            parameters=parameters,
        )
        names = {spec.name: spec.environment.get("ALERT_TOPIC_ARN") for spec in runner.template.functions}
        assert [name for name, arn in names.items() if arn] == ["on_schedule"]
        return set(runner.template.topics) | {str(names["on_schedule"])}

    own = "arn:aws:sns:us-east-1:000000000000:AlertsTopic"
    assert told_on({}) == {"AlertsTopic", own}
    assert told_on({"AlarmTopicArn": "arn:aws:sns:eu-west-1:1:given"}) == {"arn:aws:sns:eu-west-1:1:given"}
