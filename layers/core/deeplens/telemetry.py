"""Logs and metrics: Powertools Logger as JSON, Metrics as EMF; security events as both."""

from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Literal

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit

NAMESPACE, SERVICE = "DeepLens", "deeplens"
request_origin: ContextVar[dict[str, Any]] = ContextVar("request_origin", default={})  # noqa: B039 - never changed
"""The id and the network address of the request that is being answered."""

type SecurityEvent = Literal[
    "signed_in",
    "sign_in_failed",
    "locked_out",
    "second_factor_passed",
    "second_factor_failed",
    "second_factor_added",
    "second_factor_removed",
    "passkey_copied",
    "consent_granted",
    "consent_withdrawn",
    "session_ended",
    "code_replayed",
    "refresh_token_replayed",
    "token_family_revoked",
    "credential_changed",
    "password_reset_requested",
    "client_rejected",
    "credentials_rejected",
    "access_denied",
    "signing_key_revoked",
    "federation_refused",
]
"""Stable names: alarms and searches of the logs depend on them. docs/operate.md explains each."""


@lru_cache(maxsize=1)
def logger() -> Logger:
    return Logger(service=SERVICE)


@lru_cache(maxsize=1)
def metrics() -> Metrics:
    return Metrics(namespace=NAMESPACE, service=SERVICE)


def security_event(event: SecurityEvent, **details: Any) -> None:
    """Log an event that matters to the security of accounts, with its request, and count it.

    The metric ``SecurityEvents`` has the dimensions ``service`` and ``event``. Details contain no credentials, and
    addresses of people only as hashes.
    """
    logger().info("security event", security_event=event, **request_origin.get(), **details)
    with single_metric("SecurityEvents", MetricUnit.Count, 1, namespace=NAMESPACE) as metric:
        metric.add_dimension("service", SERVICE)
        metric.add_dimension("event", event)
