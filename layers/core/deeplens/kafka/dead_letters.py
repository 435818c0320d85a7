"""Reading ``deeplens.processing.deadletter``: our own letters, and whatever Lambda or a queue gave up on."""

import json
from datetime import UTC, datetime
from typing import Any

from deeplens.contracts.events import DeadLetter, Failure
from deeplens.contracts.retries import Retry
from deeplens.errors import InvalidEvent
from deeplens.kafka.records import Record, follow_up_id, parse, value_of


def read_dead_letter(record: Record) -> DeadLetter:
    """A dead letter out of any record, so that nothing that lands on the topic can block or be lost.

    Lambda's on-failure destination sends the failed record itself or an envelope with ``requestContext``; neither is
    our contract, so the whole record is kept as the letter's source. A redrive queue sends the retry that nobody
    could send: its record is the source.
    """
    if record.message_id is not None:
        return _undeliverable(record)
    try:
        return parse(record, DeadLetter)
    except InvalidEvent as error:
        code, message = _lambda_failure(record) or ("UNREADABLE_DEAD_LETTER", str(error))
    return DeadLetter(
        dead_letter_id=f"dlq_{follow_up_id('dead', record.event_id, 0)}",
        subject="record",
        error=Failure(code=code, message=message, retryable=False),
        attempt_number=record.attempt,
        failed_at=datetime.now(UTC),
        source=record.source(),
    )


def _undeliverable(record: Record) -> DeadLetter:
    """A message that was received again and again in vain."""
    common: dict[str, Any] = {
        "dead_letter_id": f"dlq_{follow_up_id('dead', record.event_id, 0)}",
        "subject": "record",
        "failed_at": datetime.now(UTC),
    }
    try:
        retry = parse(record, Retry)
    except InvalidEvent as error:
        failure = Failure(code="UNREADABLE_DEAD_LETTER", message=str(error), retryable=False)
        return DeadLetter(error=failure, attempt_number=1, source=record.source(), **common)
    return DeadLetter(
        error=Failure(code="RETRY_UNDELIVERABLE", message="its next attempt could not be sent", retryable=True),
        attempt_number=max(1, retry.attempt_number - 1),
        source=retry.record,
        tenant_id=retry.tenant_id,
        image_id=retry.image_id,
        stage=retry.stage,
        **common,
    )


def _lambda_failure(record: Record) -> tuple[str, str] | None:
    try:
        envelope: Any = json.loads(value_of(record))
    except (ValueError, InvalidEvent):
        return None
    if not isinstance(envelope, dict) or not isinstance(envelope.get("requestContext"), dict):
        return None
    context = envelope["requestContext"]
    return "INVOCATION_FAILED", f"{context.get('condition', 'unknown')} in {context.get('functionArn', 'unknown')}"
