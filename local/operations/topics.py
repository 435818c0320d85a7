"""Creating the registered topics, safe to repeat."""

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from deeplens.errors import BrokerUnavailable
from deeplens.events.topics import TOPICS, Topic, broker_topic_name
from deeplens.kafka.connection import client_config
from deeplens.settings import Settings

TIMEOUT_SECONDS = 15


def create_topics(
    settings: Settings, topics: Sequence[Topic] = TOPICS, *, partitions: int | None = None, production: bool = False
) -> list[str]:
    """Create the topics that are missing; returns their names. Raises ``BrokerUnavailable``.

    ``partitions`` is a minimum for every topic, e.g. 12 in production.
    """
    # The client has to outlive its futures.
    client = AdminClient(client_config(settings))
    try:
        existing = client.list_topics(timeout=TIMEOUT_SECONDS).topics
    except KafkaException as error:
        raise BrokerUnavailable(f"listing topics: {error.args[0].str()}") from error
    wanted = [
        NewTopic(
            broker_topic_name(topic.name, settings.kafka_topic),
            num_partitions=max(partitions or 0, topic.partitions),
            replication_factor=topic.replication(production=production),
            config=topic.settings(production=production),
        )
        for topic in topics
        if broker_topic_name(topic.name, settings.kafka_topic) not in existing
    ]
    if not wanted:
        return []
    futures = client.create_topics(wanted, request_timeout=TIMEOUT_SECONDS)
    return [name for name, future in futures.items() if _created(name, future)]


def _created(name: str, future: object) -> bool:
    try:
        future.result()  # type: ignore[attr-defined]
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise BrokerUnavailable(f"creating {name}: {error.args[0].str()}") from error
    return True
