"""Ask a Kafka broker as an administrator; every refusal becomes an error that says what to do next."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from deeplens.errors import BrokerUnavailable
from deeplens.kafka.connection import client_config
from deeplens.settings import Settings

from local.services import ServiceFailed

TIMEOUT_SECONDS = 15
EARLIEST, LATEST = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
UNREACHABLE = {
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError.REQUEST_TIMED_OUT,
}
NOT_PERMITTED = "these credentials may not do this. Use a role whose policy allows it for this topic or group."
ADVICE = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: "there is no such topic. `deeplens topics list` shows all.",
    KafkaError.TOPIC_ALREADY_EXISTS: "the topic exists. `deeplens topics recreate` empties it.",
    KafkaError.GROUP_ID_NOT_FOUND: "there is no such group. `deeplens topics lag` shows all.",
    KafkaError.NON_EMPTY_GROUP: "the group became active. Stop its consumers first.",
    KafkaError.UNKNOWN_MEMBER_ID: "the group became active. Stop its consumers first.",
    KafkaError.INVALID_REPLICATION_FACTOR: "there are fewer brokers than replicas. Give a lower --replication.",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: NOT_PERMITTED,
    KafkaError.GROUP_AUTHORIZATION_FAILED: NOT_PERMITTED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: NOT_PERMITTED,
    KafkaError.SASL_AUTHENTICATION_FAILED: "the broker refused the credentials. Check KAFKA_SECURITY and the role.",
    KafkaError._AUTHENTICATION: "the broker refused the credentials. Check KAFKA_SECURITY and the role.",
}

type Position = tuple[str, int]
"""A topic and the number of one of its partitions."""


class TopicNotFound(ServiceFailed):
    """The broker has no such topic, or none any more."""


def explained(doing: str, error: KafkaError) -> Exception:
    """The exception for a fault: what was done, what the broker said, and what to do."""
    if error.code() in UNREACHABLE:
        return BrokerUnavailable(f"{doing}: {error.str()}")
    kind = TopicNotFound if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART else ServiceFailed
    return kind(f"{doing}: {ADVICE.get(error.code(), error.str())}")


@contextmanager
def explaining(doing: str) -> Iterator[None]:
    """Raise ``BrokerUnavailable`` or ``ServiceFailed`` instead of errors of Kafka's client."""
    try:
        yield
    except KafkaException as error:
        raise explained(doing, error.args[0]) from error
    except TimeoutError as error:
        raise BrokerUnavailable(f"{doing}: no answer within {TIMEOUT_SECONDS} s") from error


class Broker:
    """The brokers of the settings, reached as functions reach them: in clear text, with TLS, or with IAM on MSK."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = AdminClient(client_config(settings) | {"log_level": 0})

    def metadata(self) -> Any:
        """Topics with their partitions. Never asks for one topic, as some brokers would create it."""
        with explaining("listing topics"):
            return self.client.list_topics(timeout=TIMEOUT_SECONDS)

    def result(self, doing: str, future: Any) -> Any:
        with explaining(doing):
            return future.result(TIMEOUT_SECONDS)

    def offsets(self, positions: Iterable[Position], spec: OffsetSpec) -> dict[Position, int]:
        """Offsets by partition; -1 where no record is as late. Partitions without a leader are left out."""
        asked = {TopicPartition(topic, partition): spec for topic, partition in positions}
        if not asked:
            return {}
        with explaining("reading offsets"):
            futures = self.client.list_offsets(asked, request_timeout=TIMEOUT_SECONDS)
        found = {}
        for position, future in futures.items():
            try:
                found[position.topic, position.partition] = future.result(TIMEOUT_SECONDS).offset
            except KafkaException as error:
                if error.args[0].code() in UNREACHABLE | {KafkaError.TOPIC_AUTHORIZATION_FAILED}:
                    raise explained(f"reading offsets of {position.topic}", error.args[0]) from error
        return found

    def earliest_and_latest(self, positions: Iterable[Position]) -> Mapping[Position, tuple[int, int]]:
        """The first offset and the next one of each partition."""
        asked = list(positions)
        first, following = (self.offsets(asked, spec) for spec in (EARLIEST, LATEST))
        return {position: (first[position], following[position]) for position in first if position in following}
