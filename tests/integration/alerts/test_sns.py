"""Telling operators on a real SNS API, with a queue that listens."""

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from deeplens.alerts.model import Digest
from deeplens.alerts.sns import SnsAlertTopic
from deeplens.errors import AlertsUnavailable

from local.runner.queues import create_queues, create_topics, topic_values
from local.runner.template import load
from local.services.localstack import REGION, LocalStackService
from local.services.process import free_port

ROOT = Path(__file__).resolve().parents[3]
TOPICS = load(ROOT / "template.yaml", {}, {}).topics
ARN = topic_values(TOPICS, REGION)["AlertsTopic"]


def client_at(endpoint: str, service: str) -> Any:
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(connect_timeout=2, retries={"total_max_attempts": 1}),
    )


@pytest.fixture(scope="module")
def endpoint(localstack: LocalStackService) -> str:
    return localstack.environment["AWS_ENDPOINT_URL"]


def test_whoever_subscribes_is_told(endpoint: str) -> None:
    sns, sqs = client_at(endpoint, "sns"), client_at(endpoint, "sqs")
    for _ in range(2):
        create_topics(sns, TOPICS)
    create_queues(sqs, {"Operators": {}})
    url = f"{endpoint}/000000000000/Operators"
    sns.subscribe(TopicArn=ARN, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:000000000000:Operators")

    SnsAlertTopic(lambda: sns, ARN).send(Digest("DeepLens: 2 dead letters", '{"alerts": 2, "code": "ä"}'))

    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10)["Messages"]
    sent_body = json.loads(message["Body"])
    assert (sent_body["Subject"], json.loads(sent_body["Message"])) == (
        "DeepLens: 2 dead letters",
        {"alerts": 2, "code": "ä"},
    )


def test_a_topic_that_is_gone_or_away_is_unavailable(endpoint: str) -> None:
    away = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    for where, arn in ((endpoint, f"{ARN}Never"), (away, ARN)):
        channel = SnsAlertTopic(lambda where=where: client_at(where, "sns"), arn)  # type: ignore[misc]
        with pytest.raises(AlertsUnavailable):
            channel.send(Digest("s", "b"))
