"""Reading ``deeplens.processing.deadletter``: our own letters, and whatever Lambda gave up on."""

import json
from datetime import UTC, datetime
from typing import Any

from deeplens.contracts.events import DeadLetter, Failure
from deeplens.errors import InvalidEvent
from deeplens.kafka.records import Record, follow_up_id, parse, value_of


def read_dead_letter(record: Record) -> DeadLetter:
    """A dead letter out of any record, so that nothing that lands on the topic can block or be lost.

    Lambda's on-failure destination sends the failed record itself or an envelope with ``requestContext``; neither is
    our contract, so the whole record is kept as the letter's source.
    """
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


def _lambda_failure(record: Record) -> tuple[str, str] | None:
    try:
        envelope: Any = json.loads(value_of(record))
    except (ValueError, InvalidEvent):
        return None
    if not isinstance(envelope, dict) or not isinstance(envelope.get("requestContext"), dict):
        return None
    context = envelope["requestContext"]
    return "INVOCATION_FAILED", f"{context.get('condition', 'unknown')} in {context.get('functionArn', 'unknown')}"
