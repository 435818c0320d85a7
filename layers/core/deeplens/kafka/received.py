"""A record on its way through an invocation."""

from dataclasses import dataclass

from deeplens.common.event import Event
from deeplens.common.stage import Done, Outcome
from deeplens.kafka.records import Record
from deeplens.telemetry.tracing import NO_SPAN, Span

NOTHING_YET = Done()


@dataclass(frozen=True, slots=True)
class Received:
    """A record with its parsed event and its outcome so far."""

    record: Record
    event: Event | None = None
    outcome: Outcome = NOTHING_YET
    span: Span = NO_SPAN
