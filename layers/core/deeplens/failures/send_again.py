"""the delay queue → failed records that are due → the topic they failed on"""

from base64 import b64decode
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from deeplens.common.outgoing import OutgoingRecord
from deeplens.common.ports import Clock, EventPublisher
from deeplens.common.stage import Done, Outcome, Waiting
from deeplens.errors import BrokerUnavailable, QueueUnavailable
from deeplens.events.failures import SourceRecord
from deeplens.events.retry import Retry
from deeplens.failures.model import RetryQueue


class SendAgain:
    """Send records to their topics again when they are due; the others wait for one more hop.

    Consumes ``Retry``. It sends by itself, since what it sends is no event of its own but a record as it was. Twice is
    harmless: the record keeps its event's id, and every stage may run twice.
    """

    name: ClassVar = "send_again"
    consumes: ClassVar = Retry

    def __init__(self, publisher: EventPublisher, retries: RetryQueue, clock: Clock) -> None:
        self._publisher, self._retries, self._clock = publisher, retries, clock

    def __call__(self, batch: Sequence[Retry]) -> list[Outcome]:
        now = self._clock.now()
        due = [retry for retry in batch if retry.due <= now]
        early = [retry for retry in batch if retry.due > now]
        sent = self._publisher.resend([_record(retry) for retry in due]) if due else []
        kept = self._kept(early, now)
        undelivered = Waiting(BrokerUnavailable("a record was not delivered again"))
        unkept = Waiting(QueueUnavailable("a retry was not queued again"))
        ended: dict[int, Outcome] = {
            **{id(retry): Done() if arrived else undelivered for retry, arrived in zip(due, sent, strict=True)},
            **{id(retry): Done() if arrived else unkept for retry, arrived in zip(early, kept, strict=True)},
        }
        return [ended[id(retry)] for retry in batch]

    def _kept(self, early: Sequence[Retry], now: datetime) -> list[bool]:
        """What cannot be queued again comes again by itself; it must not take along what was sent."""
        try:
            return self._retries.send(early, now) if early else []
        except QueueUnavailable:
            return [False] * len(early)


def _record(retry: Retry) -> OutgoingRecord:
    return again(retry.record, retry.attempt_number, retry.record.replays or 0)


def again(source: SourceRecord, attempt: int, replays: int) -> OutgoingRecord:
    """The record as it was, with its event's id, so that what follows from it is the same as well."""
    return OutgoingRecord(
        source.topic,
        None if source.key is None else b64decode(source.key),
        b64decode(source.value or ""),
        source.event_id or f"{source.topic}/{source.partition}/{source.offset}"[:64],
        source.traceparent,
        attempt,
        replays,
        source.stage,
    )
