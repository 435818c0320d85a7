"""One Lambda invocation on one topic: parse each record, run the stage once, publish, report each record.

Messages of a queue are records, too, of a topic with the queue's name.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from deeplens.common.event import Event, Subject
from deeplens.common.outgoing import OutgoingMessage
from deeplens.common.ports import Clock, EventPublisher
from deeplens.common.stage import Done, Failed, Outcome, Stage, Waiting, attempt_each, location
from deeplens.errors import BrokerUnavailable, DatabaseUnavailable, DependencyUnavailable, PipelineError, TimeUp
from deeplens.events.failures import DeadLetter, Failure, ProcessingFailed, SourceRecord
from deeplens.events.ids import event_id_of, follow_up_id
from deeplens.events.images import ImageEvent
from deeplens.events.topics import TOPIC_OF
from deeplens.events.videos import VideoUploaded
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.kafka.pace import RESERVE_SECONDS, Pace, RemainingMillis
from deeplens.kafka.received import Received
from deeplens.kafka.records import Record, parse, records_of
from deeplens.kafka.spans import Consumer, batch_span, begins_trace, end_record_span, record_span, record_spans
from deeplens.telemetry import tracing
from deeplens.telemetry.tracing import Span

type Parse = Callable[[Record], Event]
type Report = Callable[[str, Sequence[Received], float], None]
NO_TIME = Waiting(TimeUp("the invocation ends before"))

type Response = dict[str, list[dict[str, Any]]]


class BatchHandler:
    """Runs a stage on Kafka batches.

    Failures that belong to a record become ``deeplens.processing.failed``. ``batchItemFailures`` names only records
    that wait for a shared dependency, whose follow-up events were not delivered, or for which there was no time. A
    batch runs at once unless its records have been so slow that the invocation could end before. ``parse_record``
    raises ``InvalidEvent``; by default it parses the stage's contract. ``group`` is the consumer group, for spans.
    """

    def __init__(
        self,
        stage: Stage[Any],
        publisher: EventPublisher,
        clock: Clock,
        parse_record: Parse | None = None,
        group: str = "",
    ) -> None:
        self._stage, self._publisher, self._clock = stage, publisher, clock
        self._consumer = Consumer(stage.name, group)
        self._parse = parse_record or (lambda record: parse(record, stage.consumes))
        self._pace = Pace()
        topic = TOPIC_OF.get(stage.consumes)
        self._shared = topic is not None and len(topic.consumers) > 1

    def __call__(self, event: Mapping[str, Any], report: Report, remaining: RemainingMillis | None = None) -> Response:
        """Process an event of Lambda. ``remaining`` tells the milliseconds until the invocation ends."""
        started = time.perf_counter()
        records = list(records_of(event))
        with batch_span(self._consumer, records) as span:
            finished = self._process([self._parse_record(record) for record in records], remaining, span)
        tracing.flush()
        report(self._stage.name, finished, time.perf_counter() - started)
        return failures(finished)

    def _process(self, received: Sequence[Received], remaining: RemainingMillis | None, batch: Span) -> list[Received]:
        """Process as many records as there is time for; the others wait."""
        finished: list[Received] = []
        while rest := received[len(finished) :]:
            count = self._pace.slice(remaining, len(rest), first=not finished)
            if not count:
                finished += [replace(item, outcome=NO_TIME) for item in rest]
                break
            finished += self._pace.measured(count, partial(self._run_and_publish, rest[:count], remaining, batch))
        return finished

    def _parse_record(self, record: Record) -> Received:
        if self._shared and record.stage not in (None, self._stage.name):
            return Received(record, outcome=Done(dropped="sent again for another consumer"))
        try:
            return Received(record, self._parse(record))
        except PipelineError as error:
            return Received(record, outcome=Failed(error))

    def _run_and_publish(
        self, received: Sequence[Received], remaining: RemainingMillis | None, batch: Span
    ) -> list[Received]:
        spans = [record_span(item.record, item.event, self._consumer, batch) for item in received]
        with record_spans(spans, [item.event for item in received]):
            outcomes = iter(self._outcomes([item.event for item in received if item.event is not None], remaining))
            finished = self._publish(
                [
                    replace(
                        item, span=span, outcome=item.outcome if item.event is None else self._final(next(outcomes))
                    )
                    for item, span in zip(received, spans, strict=True)
                ]
            )
        for item in finished:
            end_record_span(item.span, item.outcome)
        return finished

    def _final(self, outcome: Outcome) -> Outcome:
        """Keep a dead letter that cannot be stored in its topic, as no other topic takes it."""
        if isinstance(outcome, Failed) and self._stage.consumes is DeadLetter:
            return Waiting(DatabaseUnavailable(f"a dead letter was not stored: {outcome.error}"))
        return outcome

    def _outcomes(self, events: Sequence[Event], remaining: RemainingMillis | None) -> list[Outcome]:
        """Outcomes of a batch; if it fails as a whole, each event runs alone so that one cannot fail the others."""
        if not events:
            return []
        try:
            return self._stage(events)
        except DependencyUnavailable as error:
            return [Waiting(error)] * len(events)
        except Exception:
            return self._one_by_one(events, remaining)

    def _one_by_one(self, events: Sequence[Event], remaining: RemainingMillis | None) -> list[Outcome]:
        """Run the first event in any case, to make progress in every invocation, and others while there is time."""
        outcomes: list[Outcome] = []
        for event in events:
            if outcomes and remaining and remaining() < RESERVE_SECONDS * 1000:
                return [*outcomes, *[NO_TIME] * (len(events) - len(outcomes))]
            outcomes += attempt_each(lambda alone: self._stage([alone])[0], [event])
        return outcomes

    def _publish(self, received: Sequence[Received]) -> list[Received]:
        """Publish what follows from each record; records whose events were not delivered wait."""
        messages: list[OutgoingMessage] = []
        owners: list[int] = []
        for position, item in enumerate(received):
            follow_ups = self._follow_ups(item)
            for index, event in enumerate(follow_ups):
                own = item.event.key if item.event is not None else ""
                event_id = event_id_of(event, self._stage.name, item.record.event_id, index, own)
                messages.append(_message(item, event, event_id, follow_ups))
                owners.append(position)
        delivered = self._publisher.publish(messages) if messages else []
        lost = {owner for owner, arrived in zip(owners, delivered, strict=True) if not arrived}
        waiting = Waiting(BrokerUnavailable("follow-up events were not delivered"))
        return [replace(item, outcome=waiting) if n in lost else item for n, item in enumerate(received)]

    def _follow_ups(self, item: Received) -> Sequence[Event]:
        match item.outcome:
            case Done(events):
                return events
            case Failed(error):
                failure = failure_event(item, error, self._stage, self._clock.now())
                return [for_this_stage(failure, self._stage) if self._shared else failure]
            case _:
                return []


def _message(item: Received, event: Event, event_id: str, together: Sequence[Event]) -> OutgoingMessage:
    """The message of an event that follows from a record, in the record's trace or linked to it."""
    own = item.span.traceparent or item.record.traceparent
    if event.traceparent or (tracing.enabled() and begins_trace(event, item.event, together)):
        return OutgoingMessage(event, event_id, links=(own,) if own else ())
    return OutgoingMessage(event, event_id, own)


def failures(received: Sequence[Received]) -> Response:
    """The partial batch response: per partition the lowest offset that has to come again; of a queue, each message."""
    lowest: dict[str, int] = {}
    messages: list[str] = []
    for record in [item.record for item in received if isinstance(item.outcome, Waiting)]:
        if record.message_id is not None:
            messages.append(record.message_id)
        else:
            lowest[record.topic_partition] = min(record.offset, lowest.get(record.topic_partition, record.offset))
    offsets = [{"partition": partition, "offset": offset} for partition, offset in lowest.items()]
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in [*offsets, *messages]]}


def failure_event(item: Received, error: PipelineError, stage: Stage[Any], at: datetime) -> Event:
    """The event of a failed record: a failure, or a dead letter when the record itself is a failure."""
    failure = Failure(
        code=error.code, message=str(error) or error.code, stack_trace=location(error), retryable=error.retryable
    )
    common: dict[str, Any] = {
        "error": failure,
        "failed_at": at,
        "attempt_number": item.record.attempt,
        "stage": stage.name,
        "source": _source(item.record, stage),
        **_identity(item.event),
    }
    if stage.consumes is ProcessingFailed:
        return DeadLetter(dead_letter_id=f"dlq_{follow_up_id('dead', item.record.event_id, 0)}", **common)
    model, version = item.event.embedding_model if isinstance(item.event, ImageEvent) else (None, None)
    generation = getattr(item.event, "generation", None)
    return ProcessingFailed(**common, generation=generation, model=model, model_version=version)


def _source(record: Record, stage: Stage[Any]) -> SourceRecord:
    """The record, under its topic's registered name instead of the one on the broker."""
    source, topic = record.source(), TOPIC_OF.get(stage.consumes)
    return source if topic is None or record.message_id else source.model_copy(update={"topic": topic.name})


def for_this_stage(failure: Event, stage: Stage[Any]) -> Event:
    """The failure, whose record is sent again only for this stage: the topic's other consumers have processed it."""
    source = getattr(failure, "source", None)
    return failure.model_copy(update={"source": source and source.model_copy(update={"stage": stage.name})})


def _identity(event: Event | None) -> dict[str, Any]:
    image_id, tenant_id = getattr(event, "image_id", None), getattr(event, "tenant_id", None)
    subject: Subject = "record"
    if isinstance(event, ImageEvent) and image_id:
        subject = "image"
    elif isinstance(event, WhatsAppMessage):
        subject = "message"
    elif isinstance(event, VideoUploaded):
        return {"image_id": None, "video_id": event.video_id, "tenant_id": tenant_id, "subject": "video"}
    elif tenant_id:
        subject = "tenant"
    return {"image_id": image_id, "tenant_id": tenant_id, "subject": subject}
