"""The handlers of Lambda functions, built from the container."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from deeplens.bootstrap.container import Container
from deeplens.bootstrap.encryption import require_encryption
from deeplens.bootstrap.telemetry import configure_telemetry
from deeplens.common.event import Event
from deeplens.common.outgoing import OutgoingMessage
from deeplens.common.stage import Stage
from deeplens.errors import DeepLensError
from deeplens.events.ids import event_id_of
from deeplens.kafka.handler import BatchHandler, Parse, Response
from deeplens.kafka.report import report
from deeplens.settings import settings
from deeplens.telemetry import metrics, tracing
from deeplens.telemetry.conventions import Kind
from deeplens.telemetry.logs import logger

if TYPE_CHECKING:
    from deeplens.common.ports import EventPublisher


type BatchFunction = Callable[[Mapping[str, Any], Any], Response]


@lru_cache(maxsize=1)
def container() -> Container:
    configured = settings()
    require_encryption(configured)
    logger().append_keys(function=configured.aws_lambda_function_name or "tools")
    configure_telemetry(configured)
    return Container(configured)


def pipeline_handler(stage: Callable[..., Stage[Any]], parse_record: Parse | None = None) -> BatchFunction:
    """The Lambda handler that runs a stage on the batches of its topic or queue."""
    container().publisher.connect()
    own, group = container(), settings().kafka_consumer_group
    batch_handler = BatchHandler(own.build(stage), own.publisher, own.clock, parse_record, group)

    def handler(event: Mapping[str, Any], context: Any) -> Response:
        return batch_handler(event, report, context.get_remaining_time_in_millis)

    return handler


class ScheduledJob(Protocol):
    """Work that a schedule starts; the events that it returns are published.

    A job with a method ``delivered`` receives those of its events that were delivered.
    """

    name: ClassVar[str]

    def __call__(self) -> Sequence[Event]: ...


def schedule_handler(*jobs: Callable[..., ScheduledJob]) -> Callable[[Any, Any], None]:
    """The Lambda handler that runs jobs on a schedule; one that fails leaves the others alone."""
    built, publisher = [container().build(job) for job in jobs], container().publisher

    def handler(event: Mapping[str, Any], _context: Any) -> None:
        failed = [job.name for job in built if not _run_traced(job, publisher, str(event.get("time", "")))]
        tracing.flush()
        metrics.flush()
        if failed:
            raise DeepLensError(f"failed: {', '.join(failed)}; the logs say why")

    return handler


def _run_traced(job: ScheduledJob, publisher: EventPublisher, time: str) -> bool:
    """Run a job in a trace of its own."""
    root = tracing.parent(None)
    with tracing.running(tracing.begin(f"job {job.name}", Kind.INTERNAL, [root] if root else [])) as span:
        if not _ran(job, publisher, time):
            span.fail("job failed")
            return False
    return True


def _ran(job: ScheduledJob, publisher: EventPublisher, time: str) -> bool:
    try:
        source = f"{job.name}/{time}"
        messages = [OutgoingMessage(event, event_id_of(event, job.name, source, i)) for i, event in enumerate(job())]
        arrived = publisher.publish(messages) if messages else []
        lost = arrived.count(False)
        if delivered := [message.event for message, done in zip(messages, arrived, strict=True) if done]:
            getattr(job, "delivered", lambda _: None)(delivered)
    except Exception:
        logger().exception("scheduled job failed", job=job.name)
        return False
    logger().info("scheduled job ran", job=job.name, published=len(messages) - lost, lost=lost)
    return True
