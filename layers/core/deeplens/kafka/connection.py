"""How clients reach the brokers."""

from functools import partial
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
        **_security(settings),
        "topic.metadata.refresh.interval.ms": 60_000,
        "reconnect.backoff.max.ms": 2_000,
    }


def _security(settings: Settings) -> dict[str, Any]:
    if settings.kafka_security != "IAM":
        return {"security.protocol": settings.kafka_security}
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "OAUTHBEARER",
        "oauth_cb": partial(_iam_token, settings.aws_region),
    }


def _iam_token(region: str, _config: str) -> tuple[str, float]:
    """A signed token for MSK's IAM authentication and its expiry, epoch seconds."""
    from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

    token, expires_ms = MSKAuthTokenProvider.generate_auth_token(region)
    return token, expires_ms / 1000
