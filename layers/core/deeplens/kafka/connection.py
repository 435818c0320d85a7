"""How clients reach the brokers."""

from typing import Any

from deeplens.errors import BrokerUnavailable
from deeplens.settings import Settings


def client_config(settings: Settings) -> dict[str, Any]:
    """librdkafka settings shared by producers and admin clients."""
    if not settings.kafka_brokers:
        raise BrokerUnavailable("KAFKA_BROKERS is not set")
    return {
        "bootstrap.servers": settings.kafka_brokers,
        "client.id": settings.kafka_client_id,
        "security.protocol": settings.kafka_security,
        "topic.metadata.refresh.interval.ms": 60_000,
        "reconnect.backoff.max.ms": 2_000,
    }
