"""Logs and metrics of one invocation."""

from collections import Counter
from collections.abc import Sequence

from aws_lambda_powertools.metrics import MetricUnit

from deeplens.common.event import Event
from deeplens.common.stage import Done, Failed, Outcome, Waiting
from deeplens.events.images import ProcessingCompleted
from deeplens.telemetry.logs import logger
from deeplens.telemetry.metrics import metrics


def report(stage: str, outcomes: Sequence[Outcome], events: Sequence[Event | None]) -> None:
    """Report an invocation: a log line per failure, wait and dropped record, and counts as metrics."""
    metrics().add_dimension(name="stage", value=stage)
    for kind, count in Counter(map(_kind, outcomes)).items():
        metrics().add_metric(name=kind, unit=MetricUnit.Count, value=count)
    for event in events:
        if isinstance(event, ProcessingCompleted) and stage == "complete":
            metrics().add_metric(name="ProcessingSeconds", unit=MetricUnit.Seconds, value=event.processing_time)
    metrics().flush_metrics()
    for outcome in outcomes:
        _log(stage, outcome)


def _kind(outcome: Outcome) -> str:
    if isinstance(outcome, Done):
        return "RecordsDropped" if outcome.dropped else "RecordsDone"
    return "RecordsFailed" if isinstance(outcome, Failed) else "RecordsWaiting"


def _log(stage: str, outcome: Outcome) -> None:
    match outcome:
        case Failed(error):
            cause = error.__cause__ or False
            logger().warning("record failed", stage=stage, code=error.code, reason=str(error), exc_info=cause)
        case Waiting(error):
            logger().warning("record waits", stage=stage, dependency=error.dependency, reason=str(error))
        case Done(_, dropped) if dropped:
            logger().info("record dropped", stage=stage, reason=dropped)
