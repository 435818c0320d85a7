"""A log line per failure, wait and dropped record: which record, whom it is about, and in which trace."""

from typing import Any

from deeplens.common.stage import Done, Failed, Waiting
from deeplens.kafka.received import Received
from deeplens.telemetry.context import parse_traceparent
from deeplens.telemetry.logs import lines_about, logger

IDS = ("tenant_id", "image_id", "video_id")


def log_outcome(stage: str, item: Received) -> None:
    """Log what became of a record, unless it was simply processed."""
    if isinstance(item.outcome, Done) and not item.outcome.dropped:
        return
    with lines_about(stage=stage, **_about(item)):
        match item.outcome:
            case Failed(error):
                cause = error.__cause__ or False
                logger().warning("record failed", code=error.code, reason=str(error), exc_info=cause)
            case Waiting(error):
                logger().warning("record waits", dependency=error.dependency, reason=str(error))
            case Done(_, dropped):
                logger().info("record dropped", reason=dropped)


def _about(item: Received) -> dict[str, Any]:
    record = item.record
    given = parse_traceparent(item.span.traceparent or record.traceparent)
    ids = {name: getattr(item.event, name, None) for name in IDS}
    own = {"span_id": given[0].span_id} if given and item.span.contexts else {}
    trace = {"trace_id": given[0].trace_id, **own} if given else {}
    return {**ids, **trace, "topic": record.topic, "partition": record.partition, "offset": record.offset}
