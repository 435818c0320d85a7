"""The flow in memory, with processes that die before or after any side effect."""

from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from deeplens.bootstrap.maintenance import MaintenanceRegistry
from deeplens.common.outgoing import OutgoingMessage
from deeplens.events.ids import upload_id
from deeplens.events.maintenance import ImageMaintenance
from deeplens.failures.store import StoreDeadLetters, read_dead_letter
from deeplens.kafka.handler import BatchHandler
from deeplens.maintenance.model import MaintenanceRun, Report
from deeplens.maintenance.sweep import Sweep
from deeplens.pipeline.resume import ResumeOverdue

from local.chaos.faults import Fault, watched
from tests.harness.api import picture
from tests.harness.flow import Flow
from tests.harness.uploads import jpeg_upload, send_upload


class Died(BaseException):
    """A process is gone: nothing catches that."""


def die(point: str) -> None:
    raise Died(point)


class DieAt:
    """Die at one fault point, counted from 0; at none for -1. ``points`` are those that were passed."""

    def __init__(self, at: int = -1) -> None:
        self._at = at
        self.points: list[str] = []

    def __call__(self, point: str) -> bool:
        self.points.append(point)
        return len(self.points) - 1 == self._at


class CrashingFlow(Flow):
    """Every function's process may die; what it had published stands, and what it had not finished comes again."""

    def __init__(self, fault: Fault, window: int = 200) -> None:
        self._fault = fault
        super().__init__(window)

    def handler(self, stage: Any) -> BatchHandler:
        parse = read_dead_letter if stage is StoreDeadLetters else None
        container = WatchedFlow(self)
        return BatchHandler(container.build(stage), container.publisher, self.clock, parse)

    def watched(self, *names: str) -> dict[str, Any]:
        return {name: self.port(name) for name in names}

    def port(self, name: str) -> Any:
        return watched(name, getattr(self, name), self._fault, die)

    def upload(self, number: int = 0, body: bytes | None = None) -> str:
        """One request of a client that has a key for each photo. Raises ``Died`` when that is all it hears."""
        upload = jpeg_upload(f"img_{number}", picture(number) if body is None else body)
        try:
            send_upload(WatchedFlow(self), self.acme, upload)
        finally:
            self.forward()
        return upload.id

    def accepted(self, number: int = 0, body: bytes | None = None) -> str:
        """The same of a client that asks again."""
        return self.surviving(lambda: self.upload(number, body))

    def delete(self, image_id: str) -> None:
        """What the API does for DELETE: the tombstone, then the event."""
        parts = self.watched("images", "publisher")
        event = ImageMaintenance(
            maintenance_type="delete", image_id=image_id, tenant_id=self.acme.id, requested_at=self.clock.now()
        )
        try:
            parts["images"].mark_deleted(self.acme, image_id, self.clock.now())
            assert parts["publisher"].publish([OutgoingMessage(event, f"delete-{image_id}")]) == [True]
        finally:
            self.forward()

    def surviving[T](self, work: Callable[[], T]) -> T:
        """Do it again when the process dies."""
        for _ in range(20):
            try:
                return work()
            except Died:
                continue
        raise AssertionError("died again and again")

    def deliver(self, topic: str) -> None:
        standing = deque(self.records[topic])
        try:
            super().deliver(topic)
        except Died:
            self.records[topic] = standing
            self.forward()

    def retry(self, *, times: int = 1) -> dict[str, Any]:
        try:
            return super().retry(times=times)
        except Died:
            self.forward()
            return {}

    def tick(self) -> None:
        """The schedule, at a time when whatever has not ended is overdue."""
        self.clock.skip(self.pending_due + timedelta(minutes=1))
        parts = self.watched("pending", "tenants", "images", "publisher")
        publisher = parts.pop("publisher")
        try:
            events = ResumeOverdue(**parts, pending_due=self.pending_due, clock=self.clock)()
            publisher.publish([OutgoingMessage(event, upload_id(event)) for event in events])
        except Died:
            pass
        finally:
            self.forward()

    def settle(self, rounds: int = 60) -> None:
        """Deliver, retry and resume until nothing is in work any more."""
        for _ in range(rounds):
            self.run()
            if self.retries.messages:
                self.clock.skip(timedelta(minutes=16))
                self.retry()
            elif self.pending.images():
                self.tick()
            elif not any(self.records.values()):
                return
        raise AssertionError(f"pending: {self.pending.images()}")

    def sweep(self, *, dry_run: bool) -> Report:
        """What a sweep finds that leaves nothing alone for being young."""
        now = self.clock.now()
        run = MaintenanceRun("mnt_1", self.acme.id, "sweep", dry_run, now, now)
        pages = self.build(Sweep).pages(self.acme, run, now + timedelta(days=400))
        return sum((page.report for page in pages), Report())

    def metered(self) -> float:
        return sum(total for (_, _, metric), total in self.usage.totals.items() if metric == "images.completed")


class WatchedFlow(MaintenanceRegistry):
    """Builds stages from the ports of a flow, with fault points."""

    providers = Flow.providers

    def __init__(self, flow: CrashingFlow) -> None:
        self._flow = flow

    def __getattr__(self, name: str) -> Any:
        return self._flow.port(name)
