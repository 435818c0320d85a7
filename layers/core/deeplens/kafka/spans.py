"""Spans of an invocation: one of its batch, linked to every record, and one of each record, in the record's trace."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from deeplens.common.event import Event
from deeplens.common.outgoing import OutgoingRecord
from deeplens.common.stage import Done, Failed, Outcome, Waiting
from deeplens.events.failures import Retry
from deeplens.kafka.records import Record
from deeplens.telemetry import conventions as names
from deeplens.telemetry import tracing
from deeplens.telemetry.context import Contexts, parse_traceparent
from deeplens.telemetry.conventions import Kind
from deeplens.telemetry.tracing import NO_SPAN, Span

KAFKA, SQS = "kafka", "aws_sqs"


@dataclass(frozen=True, slots=True)
class Consumer:
    """The stage that processes records, and its consumer group, which a queue has not."""

    stage: str
    group: str = ""

    def attributes(self, record: Record, operation: str) -> dict[str, names.Value | None]:
        system = KAFKA if record.message_id is None else SQS
        return {
            names.SYSTEM: system,
            names.OPERATION_NAME: "poll" if operation == "receive" else operation,
            names.OPERATION_TYPE: operation,
            names.DESTINATION: record.topic,
            names.GROUP: self.group or None,
            names.STAGE: self.stage,
        }


@contextmanager
def batch_span(consumer: Consumer, records: Sequence[Record]) -> Iterator[Span]:
    """The span of an invocation, a trace of its own: a batch has records of many traces."""
    links = [sent[0] for record in records if (sent := parse_traceparent(record.traceparent)) and sent[1]]
    parent = tracing.parent(None) if tracing.enabled() and records else None
    if parent is None:
        yield NO_SPAN
        return
    attributes = {**consumer.attributes(records[0], "receive"), names.BATCH_COUNT: len(records)}
    span = tracing.begin(f"receive {records[0].topic}", Kind.CONSUMER, [parent], attributes, links)
    try:
        yield span
    finally:
        tracing.end(span)


def record_span(record: Record, event: Event | None, consumer: Consumer, batch: Span) -> Span:
    """The span of one record; it continues the trace of the span that sent it."""
    sent = tracing.parent(_sender(record, event))
    if sent is None:
        return NO_SPAN
    attributes = {
        **consumer.attributes(record, "process"),
        names.ATTEMPT: record.attempt if record.attempt > 1 else None,
        names.REPLAYS: record.replays or None,
        names.GENERATION: getattr(event, "generation", None),
        names.TOMBSTONE: True if record.value is None else None,
        names.MESSAGE_ID: record.event_id,
    }
    if record.message_id is None:
        attributes |= {names.PARTITION: str(record.partition), names.OFFSET: record.offset}
    links = batch.contexts[:1]
    return tracing.begin(f"process {record.topic}", Kind.CONSUMER, [sent], attributes, links, names.ids_of(event))


def _sender(record: Record, event: Event | None) -> str | None:
    """The span that sent the record; a message of the delay queue carries the record that failed."""
    return event.record.traceparent if isinstance(event, Retry) else record.traceparent


@contextmanager
def record_spans(spans: Sequence[Span], events: Sequence[Event | None]) -> Iterator[None]:
    """Run inside the spans of records; calls for some of them alone are only in theirs, see ``tracing.about``."""
    known: dict[str, Contexts] = {}
    for span, event in zip(spans, events, strict=True):
        for identifier in {str(getattr(event, field, None) or "") for field in tracing.SUBJECT_FIELDS} - {""}:
            known[identifier] = known.get(identifier, ()) + span.contexts
    with tracing.inside(tuple(context for span in spans for context in span.contexts), known):
        yield


def end_record_span(span: Span, outcome: Outcome) -> None:
    """End a record's span with what became of the record."""
    match outcome:
        case Failed(error):
            span.set({names.OUTCOME: "failed"})
            span.fail(error.code)
        case Waiting(error):
            span.set({names.OUTCOME: "waiting", names.DEPENDENCY: error.dependency})
            span.fail(type(error).__name__)
        case Done(_, dropped):
            span.set({names.OUTCOME: "dropped" if dropped else "done"})
    tracing.end(span)


def begins_trace(event: Event, source: Event | None, together: Sequence[Event]) -> bool:
    """Whether an event begins a trace of its own, linked to the one that it follows from.

    An image is one trace. Frames of a video, images of a back-fill and images that an end released begin their own.
    """
    image_id, own = getattr(event, "image_id", None), getattr(source, "image_id", None)
    if image_id is None or image_id == own:
        return False
    return own is not None or len({getattr(other, "image_id", None) for other in together} - {None}) > 1


def send_span(record: OutgoingRecord) -> Span:
    """The span that sends a record; the record carries its ``traceparent``."""
    if not tracing.enabled():
        return NO_SPAN
    parent, around = tracing.parent(record.traceparent), tracing.active()
    if parent is None:
        return NO_SPAN
    known = [sent[0] for text in record.links if (sent := parse_traceparent(text))]
    # A request or job of another trace that sends it, e.g. a replay.
    outer = [context for context in around if len(around) == 1 and context.trace_id != parent.trace_id]
    attributes = {
        names.SYSTEM: KAFKA,
        names.OPERATION_NAME: "send",
        names.OPERATION_TYPE: "send",
        names.DESTINATION: record.topic,
        names.MESSAGE_ID: record.event_id,
        names.ATTEMPT: record.attempt if record.attempt > 1 else None,
        names.REPLAYS: record.replays or None,
    }
    links = list({link.span_id: link for link in [*known, *outer]}.values())
    return tracing.begin(f"send {record.topic}", Kind.PRODUCER, [parent], attributes, links, record.subject)
