"""Logs and metrics of one invocation."""

from collections.abc import Sequence

from deeplens.common.stage import Done, Failed, Outcome, Waiting
from deeplens.kafka.measure import measure
from deeplens.kafka.received import Received
from deeplens.telemetry import metrics
from deeplens.telemetry.logs import logger


def report(stage: str, finished: Sequence[Received], seconds: float) -> None:
    """Report an invocation: its metrics, and a log line per failure, wait and dropped record."""
    measure(stage, finished, seconds)
    for item in finished:
        _log(stage, item.outcome)
    metrics.flush()


def _log(stage: str, outcome: Outcome) -> None:
    match outcome:
        case Failed(error):
            cause = error.__cause__ or False
            logger().warning("record failed", stage=stage, code=error.code, reason=str(error), exc_info=cause)
        case Waiting(error):
            logger().warning("record waits", stage=stage, dependency=error.dependency, reason=str(error))
        case Done(_, dropped) if dropped:
            logger().info("record dropped", stage=stage, reason=dropped)
