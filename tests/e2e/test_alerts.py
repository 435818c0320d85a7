"""Dead letters reach the operators through the scheduled function and SNS."""

import json

from deeplens.aws.clients import client as aws

from local.runner.queues import create_queues, topic_values
from local.services.localstack import REGION
from local.stack.stack import Stack, settings_for
from tests.e2e.conftest import TenantClient, eventually, picture

EVERY_MINUTE = {"time": "2026-11-20T10:30:00Z"}


def test_operators_are_told_of_a_dead_letter(stack: Stack, other: TenantClient) -> None:
    assert stack.runner is not None
    sqs = aws("sqs", settings_for(stack.environment))
    create_queues(sqs, {"Operators": {}})
    url = f"{stack.environment['AWS_ENDPOINT_URL']}/000000000000/Operators"
    topic = topic_values(stack.runner.template.topics, REGION)["AlertsTopic"]
    aws("sns", settings_for(stack.environment)).subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:000000000000:Operators"
    )

    image_id = other.upload(picture(2900)[:3000])
    letter = "SELECT id FROM dead_letters WHERE image_id = %s"
    eventually(lambda: other.rows(letter, [image_id]))
    # The runner's own minute may be faster.
    stack.runner.invoke("on_schedule", EVERY_MINUTE)

    codes: set[str] = set()

    def told() -> bool:
        for message in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages", []):
            body = json.loads(json.loads(message["Body"])["Message"])
            codes.update(group["code"] for group in body["groups"] if group["stage"] == "preprocess")
        return "IMAGE_CORRUPT" in codes

    eventually(told)
    assert (
        other.rows("SELECT 1 FROM operator_alerts WHERE told_at IS NULL AND due < now() - interval '1 hour'", []) == 0
    )
