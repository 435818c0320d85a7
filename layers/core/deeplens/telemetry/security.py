"""Events that matter to the security of accounts, as a log line and a metric."""

from typing import Any, Literal

from aws_lambda_powertools import single_metric
from aws_lambda_powertools.metrics import MetricUnit

from deeplens.telemetry.logs import logger, request_origin, service
from deeplens.telemetry.metrics import NAMESPACE

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
    "email_change_requested",
    "client_rejected",
    "credentials_rejected",
    "access_denied",
    "signing_key_revoked",
    "federation_refused",
]
"""Stable names: alarms and searches of the logs depend on them. docs/operate.md explains each."""


def security_event(event: SecurityEvent, **details: Any) -> None:
    """Log an event that matters to the security of accounts, with its request, and count it.

    The metric ``SecurityEvents`` has the dimensions ``service`` and ``event``. Details contain no credentials, and
    addresses of people only as hashes.
    """
    logger().info("security event", security_event=event, **request_origin.get(), **details)
    with single_metric("SecurityEvents", MetricUnit.Count, 1, namespace=NAMESPACE) as metric:
        metric.add_dimension("service", service())
        metric.add_dimension("event", event)
