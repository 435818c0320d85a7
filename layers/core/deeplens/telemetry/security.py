"""Events that matter to the security of accounts, as a log line and a metric."""

from typing import Any, Literal

from deeplens.telemetry.instruments import SECURITY_EVENTS
from deeplens.telemetry.logs import logger, request_origin
from deeplens.telemetry.metrics import record

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
    "domain_unverified",
]
"""Stable names: alarms and searches of the logs depend on them. docs/observe.md explains each."""


def security_event(event: SecurityEvent, **details: Any) -> None:
    """Log an event that matters to the security of accounts, with its request, and count it.

    Details contain no credentials, and addresses of people only as hashes.
    """
    logger().info("security event", security_event=event, **request_origin.get(), **details)
    record(SECURITY_EVENTS, event=event)
