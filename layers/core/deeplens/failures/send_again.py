"""the delay queue → failed records that are due → the topic they failed on"""

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import ClassVar

from deeplens.common.outgoing import OutgoingRecord
from deeplens.common.ports import Clock, EventPublisher
from deeplens.common.stage import Done, Outcome, Waiting
from deeplens.errors import BrokerUnavailable, QueueUnavailable
from deeplens.events.failures import Retry, SourceRecord
from deeplens.failures.model import RetryQueue
from deeplens.telemetry.conventions import ids_of


@dataclass(frozen=True)
class SendAgain:
    """Send records to their topics again when they are due; queue the others again.

    Consumes ``Retry``. The stage publishes by itself, since it sends a record as it was instead of an event. A record
    that is sent twice does no harm: it keeps its event's id, and every stage may run twice.
    """

    name: ClassVar = "send_again"
    consumes: ClassVar = Retry

    publisher: EventPublisher
    retries: RetryQueue
    clock: Clock

    def __call__(self, batch: Sequence[Retry]) -> list[Outcome]:
        now = self.clock.now()
        due = [retry for retry in batch if retry.due <= now]
        early = [retry for retry in batch if retry.due > now]
        records = [
            outgoing_record(retry.record, retry.attempt_number, retry.record.replays or 0, retry) for retry in due
        ]
        sent = self.publisher.resend(records) if due else []
        handled = chain(zip(due, sent, strict=True), zip(early, self._queue_again(early, now), strict=True))
        succeeded = {id(retry) for retry, done in handled if done}
        undelivered = Waiting(BrokerUnavailable("a record was not delivered again"))
        unqueued = Waiting(QueueUnavailable("a retry was not queued again"))
        return [Done() if id(retry) in succeeded else undelivered if retry.due <= now else unqueued for retry in batch]

    def _queue_again(self, early: Sequence[Retry], now: datetime) -> list[bool]:
        """A retry that cannot be queued is received again; it must not repeat the records that were sent."""
        try:
            return self.retries.send(early, now) if early else []
        except QueueUnavailable:
            return [False] * len(early)


def outgoing_record(source: SourceRecord, attempt: int, replays: int, about: object) -> OutgoingRecord:
    """The record as it was, with its event's id, so that the events that follow from it have the same ids again.

    The span that sends it continues the trace of its first try, and is linked to the one that sent that.

    Parameters
    ----------
    about : names the tenant and the image for that span.
    """
    return OutgoingRecord(
        source.topic,
        None if source.key is None else b64decode(source.key),
        b64decode(source.value or ""),
        source.event_id or f"{source.topic}/{source.partition}/{source.offset}"[:64],
        source.traceparent,
        attempt,
        replays,
        source.stage,
        (source.traceparent,) if source.traceparent else (),
        ids_of(about),
    )
