"""Logs and metrics of one invocation."""

from collections.abc import Sequence

from deeplens.kafka.lines import log_outcome
from deeplens.kafka.measure import measure
from deeplens.kafka.received import Received
from deeplens.telemetry import metrics


def report(stage: str, finished: Sequence[Received], seconds: float) -> None:
    """Report an invocation: its metrics, and a log line per failure, wait and dropped record."""
    measure(stage, finished, seconds)
    for item in finished:
        log_outcome(stage, item)
    metrics.flush()
