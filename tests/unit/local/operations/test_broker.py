"""Every refusal of a broker says what to do next."""

import pytest
from confluent_kafka import KafkaError, KafkaException
from deeplens.errors import BrokerUnavailable

from local.cli.errors import explain
from local.operations.broker import explaining
from local.services import ServiceFailed


@pytest.mark.parametrize(
    ("code", "kind", "advice"),
    [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, ServiceFailed, "deeplens topics list"),
        (KafkaError.TOPIC_ALREADY_EXISTS, ServiceFailed, "deeplens topics recreate"),
        (KafkaError.GROUP_ID_NOT_FOUND, ServiceFailed, "deeplens topics lag"),
        (KafkaError.NON_EMPTY_GROUP, ServiceFailed, "Stop its consumers"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, ServiceFailed, "Use a role whose policy allows it"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, ServiceFailed, "Use a role whose policy allows it"),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, ServiceFailed, "Use a role whose policy allows it"),
        (KafkaError._AUTHENTICATION, ServiceFailed, "Check KAFKA_SECURITY"),
        (KafkaError.INVALID_REPLICATION_FACTOR, ServiceFailed, "--replication"),
        (KafkaError.POLICY_VIOLATION, ServiceFailed, "Policy violation"),
        (KafkaError._TRANSPORT, BrokerUnavailable, "deeplens status"),
        (KafkaError._TIMED_OUT, BrokerUnavailable, "deeplens status"),
    ],
)
def test_a_refusal_is_explained(code: int, kind: type[Exception], advice: str) -> None:
    with pytest.raises(kind) as refused, explaining("deleting a-topic"):
        raise KafkaException(KafkaError(code))

    said = explain(refused.value) or ""
    assert "deleting a-topic" in said
    assert advice in said


def test_a_broker_that_does_not_answer_in_time_is_unavailable() -> None:
    with pytest.raises(BrokerUnavailable, match="listing groups: no answer"), explaining("listing groups"):
        raise TimeoutError
