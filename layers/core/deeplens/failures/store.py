"""deeplens.processing.deadletter → dead_letters, for listing and replay"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from pydantic_core import from_json

from deeplens.common.event import Event
from deeplens.common.stage import Done, Outcome
from deeplens.errors import InvalidEvent
from deeplens.events.bucket import BucketNotification
from deeplens.events.failures import DeadLetter, Failure, Retry, SourceRecord
from deeplens.events.ids import follow_up_id
from deeplens.events.topics import PROCESSING_DEADLETTER, TOPICS
from deeplens.failures.model import DeadLetterEntry, DeadLetters
from deeplens.kafka.records import Record, parse, value_of

SOURCE_TOPIC, FUNCTION = "source-topic", "lambda-function"
"""Headers of a record that was given up, as our runner writes them; AWS does not say which headers it writes."""
NOT_INGESTED = Failure(code="OBJECT_NOT_INGESTED", message="its object could not be taken in", retryable=False)


@dataclass(frozen=True)
class StoreDeadLetters:
    """Keep dead letters in the platform database. Consumes ``DeadLetter``, emits nothing; a letter is kept once."""

    name: ClassVar = "store_dead_letters"
    consumes: ClassVar = DeadLetter

    dead_letters: DeadLetters

    def __call__(self, batch: Sequence[DeadLetter]) -> list[Outcome]:
        self.dead_letters.store([_entry(letter) for letter in batch])
        return [Done()] * len(batch)


def _entry(letter: DeadLetter) -> DeadLetterEntry:
    return DeadLetterEntry(
        letter.dead_letter_id,
        letter.tenant_id,
        letter.image_id,
        letter.stage,
        letter.error.code,
        letter.error.message,
        letter.attempt_number,
        letter.failed_at,
        letter.source,
    )


def read_dead_letter(record: Record) -> DeadLetter:
    """A dead letter from any record, so that nothing that arrives on the topic can block it or be lost.

    Lambda's on-failure destination sends the failed record itself, or an envelope with ``requestContext`` that does not
    hold it; neither is our contract, so the record is kept as the letter's source, under the topic that it came from
    where that is known. A redrive queue sends the retry that could not be sent: its record is the source.
    """
    if record.message_id is not None:
        return _undeliverable(record)
    try:
        return parse(record, DeadLetter)
    except InvalidEvent as error:
        unreadable = _unreadable(error)
    return _given_up(record) or _letter(record, _lambda_failure(record) or unreadable, record.attempt, record.source())


def _letter(
    record: Record, error: Failure, attempt_number: int, source: SourceRecord, **known: str | None
) -> DeadLetter:
    return DeadLetter(
        dead_letter_id=f"dlq_{follow_up_id('dead', record.event_id, 0)}",
        subject="record",
        error=error,
        attempt_number=attempt_number,
        failed_at=datetime.now(UTC),
        source=source,
        **known,
    )


def _unreadable(error: InvalidEvent) -> Failure:
    return Failure(code="UNREADABLE_DEAD_LETTER", message=str(error), retryable=False)


def _given_up(record: Record) -> DeadLetter | None:
    """A record that an event source gave up: an event of one of our topics, as it was."""
    source_topic = record.headers.get(SOURCE_TOPIC, b"").decode(errors="replace")
    topics = [
        topic
        for topic in TOPICS
        if topic is not PROCESSING_DEADLETTER and (not source_topic or source_topic.endswith(topic.name))
    ]
    matches = [(topic, event) for topic in topics if (event := _parsed(record, topic.contract)) is not None]
    if len(matches) != 1:
        return None
    ((topic, event),) = matches
    function = record.headers.get(FUNCTION, b"its function").decode(errors="replace")[:200]
    error = Failure(code="INVOCATION_FAILED", message=f"Lambda gave it up in {function}", retryable=True)
    source = record.source().model_copy(update={"topic": topic.name, **_position(record)})
    ids = {name: getattr(event, name, None) for name in ("tenant_id", "image_id", "video_id")}
    return _letter(record, error, record.attempt, source, **ids)


def _parsed(record: Record, contract: type[Event]) -> Event | None:
    try:
        return parse(record, contract)
    except InvalidEvent:
        return None


def _position(record: Record) -> dict[str, int]:
    """Its partition and offset on the topic that it came from, as far as headers name them."""
    headers = {name: record.headers.get(f"source-{name}", b"") for name in ("partition", "offset")}
    return {name: int(value) for name, value in headers.items() if value.isdigit() and len(value) < 19}


def _undeliverable(record: Record) -> DeadLetter:
    """A message that was received again and again in vain."""
    try:
        retry = parse(record, Retry)
    except InvalidEvent as error:
        # A bucket's notification: the schedule asks again for the upload that it was about.
        known = _parsed(record, BucketNotification) is not None
        return _letter(record, NOT_INGESTED if known else _unreadable(error), 1, record.source())
    failure = Failure(code="RETRY_UNDELIVERABLE", message="its next attempt could not be sent", retryable=True)
    ids = {"tenant_id": retry.tenant_id, "image_id": retry.image_id, "stage": retry.stage}
    return _letter(record, failure, max(1, retry.attempt_number - 1), retry.record, **ids)


def _lambda_failure(record: Record) -> Failure | None:
    try:
        envelope: Any = from_json(value_of(record))
    except (ValueError, InvalidEvent):
        return None
    if not isinstance(envelope, dict) or not isinstance(envelope.get("requestContext"), dict):
        return None
    context = envelope["requestContext"]
    message = f"{context.get('condition', 'unknown')} in {context.get('functionArn', 'unknown')}"
    return Failure(code="INVOCATION_FAILED", message=message, retryable=False)
