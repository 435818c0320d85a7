"""Create a template's SQS queues and SNS topics on LocalStack, which loses them whenever it restarts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.runner.template import Template, load

ACCOUNT = "000000000000"
ATTRIBUTES = ("DelaySeconds", "MaximumMessageSize", "MessageRetentionPeriod", "VisibilityTimeout")


def queue_name(logical_id: str, properties: Mapping[str, Any]) -> str:
    """Return a name that is the same at every start, so that the URLs in functions' environments stay valid."""
    return str(properties.get("QueueName", logical_id))


def queue_values(queues: Mapping[str, Mapping[str, Any]], endpoint: str, region: str) -> dict[str, str]:
    """Return the local values of ``!Ref`` and ``!GetAtt`` for each queue."""
    values: dict[str, str] = {}
    for logical_id, properties in queues.items():
        name = queue_name(logical_id, properties)
        values[logical_id] = f"{endpoint}/{ACCOUNT}/{name}"
        values[f"{logical_id}.Arn"] = f"arn:aws:sqs:{region}:{ACCOUNT}:{name}"
        values[f"{logical_id}.QueueName"] = name
    return values


def topic_values(topics: Mapping[str, Mapping[str, Any]], region: str) -> dict[str, str]:
    """Return the local values of ``!Ref`` and ``!GetAtt`` for each topic."""
    values: dict[str, str] = {}
    for logical_id, properties in topics.items():
        name = topic_name(logical_id, properties)
        values[logical_id] = values[f"{logical_id}.TopicArn"] = f"arn:aws:sns:{region}:{ACCOUNT}:{name}"
        values[f"{logical_id}.TopicName"] = name
    return values


def topic_name(logical_id: str, properties: Mapping[str, Any]) -> str:
    return str(properties.get("TopicName", logical_id))


def load_with_queues(
    path: Path, environment: Mapping[str, str], parameters: Mapping[str, str], resources: Mapping[str, str]
) -> Template:
    """Load a template with its queues' and topics' addresses on LocalStack; ``resources`` take precedence."""
    declared = load(path, parameters, resources)
    endpoint, region = environment.get("AWS_ENDPOINT_URL", ""), environment.get("AWS_REGION", "us-east-1")
    addresses = {**queue_values(declared.queues, endpoint, region), **topic_values(declared.topics, region)}
    return load(path, parameters, {**addresses, **resources})


def create_queues(client: Any, queues: Mapping[str, Mapping[str, Any]]) -> None:
    """Create missing queues; safe to repeat. Redrive targets come before the queues that name them."""
    for logical_id, properties in sorted(queues.items(), key=lambda item: "RedrivePolicy" in item[1]):
        client.create_queue(QueueName=queue_name(logical_id, properties), Attributes=queue_attributes(properties))


def create_topics(client: Any, topics: Mapping[str, Mapping[str, Any]]) -> None:
    """Create missing topics; safe to repeat."""
    for logical_id, properties in topics.items():
        client.create_topic(Name=topic_name(logical_id, properties))


def queue_attributes(properties: Mapping[str, Any]) -> dict[str, str]:
    """Return a queue's properties as ``CreateQueue`` takes them; encryption and tags are only used on AWS."""
    attributes = {name: str(properties[name]) for name in ATTRIBUTES if name in properties}
    if "RedrivePolicy" in properties:
        policy = properties["RedrivePolicy"]
        attributes["RedrivePolicy"] = json.dumps({**policy, "maxReceiveCount": str(policy["maxReceiveCount"])})
    return attributes
