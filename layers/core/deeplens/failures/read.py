"""Reading ``deeplens.processing.deadletter``: our own letters, and whatever Lambda or a queue gave up on."""

import json
from datetime import UTC, datetime
from typing import Any

from deeplens.common.event import Event
from deeplens.errors import InvalidEvent
from deeplens.events.bucket import BucketNotification
from deeplens.events.failures import DeadLetter, Failure
from deeplens.events.ids import follow_up_id
from deeplens.events.retry import Retry
from deeplens.events.topics import PROCESSING_DEADLETTER, TOPICS, Topic
from deeplens.kafka.records import Record, parse, value_of

SOURCE_TOPIC, FUNCTION = "source-topic", "lambda-function"
"""Headers of a record that was given up, as our runner writes them; AWS does not say which its own are."""


def read_dead_letter(record: Record) -> DeadLetter:
    """A dead letter out of any record, so that nothing that lands on the topic can block or be lost.

    Lambda's on-failure destination sends the failed record itself, or an envelope with ``requestContext`` that does not
    hold it; neither is our contract, so the record is kept as the letter's source, under the topic that it came from
    where that is known. A redrive queue sends the retry that could not be sent: its record is the source.
    """
    if record.message_id is not None:
        return _undeliverable(record)
    try:
        return parse(record, DeadLetter)
    except InvalidEvent as error:
        unreadable = str(error)
    if (given_up := _given_up(record)) is not None:
        return given_up
    code, message = _lambda_failure(record) or ("UNREADABLE_DEAD_LETTER", unreadable)
    failure = Failure(code=code, message=message, retryable=False)
    return DeadLetter(error=failure, attempt_number=record.attempt, source=record.source(), **_common(record))


def _common(record: Record) -> dict[str, Any]:
    return {
        "dead_letter_id": f"dlq_{follow_up_id('dead', record.event_id, 0)}",
        "subject": "record",
        "failed_at": datetime.now(UTC),
    }


def _given_up(record: Record) -> DeadLetter | None:
    """A record that an event source gave up: an event of one of our topics, as it was."""
    source_topic = record.headers.get(SOURCE_TOPIC, b"").decode(errors="replace")
    topics = [topic for topic in TOPICS if topic is not PROCESSING_DEADLETTER and source_topic in ("", topic.name)]
    found = [(topic, event) for topic in topics if (event := _event(record, topic)) is not None]
    if len(found) != 1:
        return None
    ((topic, event),) = found
    function = record.headers.get(FUNCTION, b"its function").decode(errors="replace")[:200]
    error = Failure(code="INVOCATION_FAILED", message=f"Lambda gave it up in {function}", retryable=True)
    return DeadLetter(
        error=error,
        attempt_number=record.attempt,
        source=record.source().model_copy(update={"topic": topic.name, **_place(record)}),
        tenant_id=getattr(event, "tenant_id", None),
        image_id=getattr(event, "image_id", None),
        video_id=getattr(event, "video_id", None),
        **_common(record),
    )


def _event(record: Record, topic: Topic) -> Event | None:
    try:
        return parse(record, topic.contract)
    except InvalidEvent:
        return None


def _place(record: Record) -> dict[str, int]:
    """Where it stood on its topic, if headers tell; otherwise where it stands here."""
    given = {name: record.headers.get(f"source-{name}", b"") for name in ("partition", "offset")}
    return {name: int(value) for name, value in given.items() if value.isdigit() and len(value) < 19}


def _undeliverable(record: Record) -> DeadLetter:
    """A message that was received again and again in vain."""
    try:
        retry = parse(record, Retry)
    except InvalidEvent as error:
        failure = _undelivered(record) or Failure(code="UNREADABLE_DEAD_LETTER", message=str(error), retryable=False)
        return DeadLetter(error=failure, attempt_number=1, source=record.source(), **_common(record))
    return DeadLetter(
        error=Failure(code="RETRY_UNDELIVERABLE", message="its next attempt could not be sent", retryable=True),
        attempt_number=max(1, retry.attempt_number - 1),
        source=retry.record,
        tenant_id=retry.tenant_id,
        image_id=retry.image_id,
        stage=retry.stage,
        **_common(record),
    )


def _undelivered(record: Record) -> Failure | None:
    """A bucket's notification; the schedule asks again for the upload that it was about."""
    try:
        parse(record, BucketNotification)
    except InvalidEvent:
        return None
    return Failure(code="OBJECT_NOT_INGESTED", message="its object could not be taken in", retryable=False)


def _lambda_failure(record: Record) -> tuple[str, str] | None:
    try:
        envelope: Any = json.loads(value_of(record))
    except (ValueError, InvalidEvent):
        return None
    if not isinstance(envelope, dict) or not isinstance(envelope.get("requestContext"), dict):
        return None
    context = envelope["requestContext"]
    return "INVOCATION_FAILED", f"{context.get('condition', 'unknown')} in {context.get('functionArn', 'unknown')}"
