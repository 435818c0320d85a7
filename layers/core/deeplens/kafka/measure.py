"""What the metrics say about one invocation on a topic."""

import time
from collections import Counter
from collections.abc import Sequence

from deeplens.common.event import Event
from deeplens.common.stage import Done, Failed, Outcome
from deeplens.errors import TENANTS_FAULTS
from deeplens.events.failures import DeadLetter
from deeplens.events.images import ProcessingCompleted
from deeplens.events.maintenance import ImageMaintenance
from deeplens.kafka.received import Received
from deeplens.telemetry import instruments as of
from deeplens.telemetry import tracing
from deeplens.telemetry.metrics import record


def measure(stage: str, finished: Sequence[Received], seconds: float, now: float | None = None) -> None:
    """Measure an invocation of ``seconds``, its records, and the longer work that ended with them.

    Parameters
    ----------
    now : seconds since the epoch.
    """
    if not finished:
        return
    now, topic = time.time() if now is None else now, finished[0].record.topic
    record(of.PROCESS_DURATION, seconds, topic=topic, stage=stage)
    record(of.BATCH_SIZE, len(finished), stage=stage)
    for (outcome, error), count in Counter(outcome_of(item.outcome) for item in finished).items():
        record(of.CONSUMED, count, topic=topic, stage=stage, outcome=outcome, error=error)
    for item in finished:
        if item.record.sent_at is not None:
            record(of.RECORD_AGE, max(0.0, now - seconds - item.record.sent_at), stage=stage)
        if isinstance(item.outcome, Done) and not item.outcome.dropped:
            with tracing.inside(item.span.contexts):
                _measure_end(stage, item.event, now)


def outcome_of(outcome: Outcome) -> tuple[str, str]:
    """An outcome and its error: a code, or the class of a shared dependency's error."""
    if isinstance(outcome, Done):
        return ("dropped" if outcome.dropped else "done"), ""
    if isinstance(outcome, Failed):
        return ("invalid" if isinstance(outcome.error, TENANTS_FAULTS) else "failed"), outcome.error.code
    return "waiting", type(outcome.error).__name__


def _measure_end(stage: str, event: Event | None, now: float) -> None:
    match event:
        case ProcessingCompleted() if stage == "complete":
            record(of.IMAGE_DURATION, event.processing_time)
        case ImageMaintenance(maintenance_type="delete", video_id=None):
            record(of.DELETION_DURATION, max(0.0, now - event.requested_at.timestamp()))
        case DeadLetter():
            record(of.DEAD_LETTERS, stage=event.stage or "", error=event.error.code)
