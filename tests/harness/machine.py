"""The pipeline as its users, its broker, its operators and its accidents see it, over fakes."""

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from datetime import timedelta
from typing import Any

from deeplens.common.outgoing import OutgoingMessage
from deeplens.errors import ApiError, DependencyUnavailable, PipelineError
from deeplens.events.ids import follow_up_id
from deeplens.failures.model import DeadLetterEntry, DeadLetterFilter
from deeplens.failures.replay import Replay, RetryImage
from deeplens.http.dependencies import Publish
from deeplens.images.delete import delete
from deeplens.images.keys import derived_keys, image_of
from deeplens.images.model import ImageRecord, Tombstone
from deeplens.maintenance.slices import TickMaintenance
from deeplens.pipeline.resume import ResumeOverdue
from deeplens.tenants.model import Tenant
from deeplens.uploads.accept_form import Upload
from deeplens.webhooks.model import Webhook
from deeplens.webhooks.notify import TickWebhooks

from tests.harness.api import picture
from tests.harness.faults import Crash, Faults
from tests.harness.flow import Flow
from tests.harness.uploads import jpeg_upload, send_upload

HOOK = "whk_1"
FATAL = (Crash, ZeroDivisionError)
"""What ends an invocation without an answer; its batch comes again."""
JOBS = (ResumeOverdue, TickMaintenance, TickWebhooks)


class Inline(Executor):
    """Works in the calling thread, so that a history happens the same way every time."""

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **_: Any) -> Any:
        return iter([fn(*arguments) for arguments in zip(*iterables, strict=False)])


class Machine:
    """A flow with faults.

    Attributes
    ----------
    accepted : images whose upload was answered 202, by tenant and id.
    gone : those whose deletion was answered 202.
    asked_to_go : those whose deletion was asked for at all.
    """

    def __init__(self, window: int = 2) -> None:
        self.flow = Flow(window=window, workers=Inline())
        flow = self.flow
        flow.images.now = flow.clock.now
        for owner in (flow.acme, flow.other):
            flow.stores.for_tenant(owner).now = flow.clock.now
        flow.webhooks.save(
            Webhook(HOOK, flow.acme.id, "https://acme.example", ("image.completed", "image.failed"), flow.clock.now())
        )
        self.faults = Faults(flow)
        self.uploads: dict[str, tuple[Tenant, Upload]] = {}
        self.accepted: set[str] = set()
        self.gone: set[str] = set()
        self.asked_to_go: set[str] = set()
        self._minutes = 0
        self._retry, self._publish = flow.build(RetryImage), Publish(flow.publisher)
        self._replay = flow.build(Replay)

    @property
    def topics(self) -> list[str]:
        return sorted(topic for topic, queue in self.flow.records.items() if queue)

    def owner(self, image_id: str) -> Tenant:
        with self.faults.unnoticed():
            return self.flow.tenants.get(self.uploads[image_id][0].id)

    def row(self, image_id: str) -> ImageRecord | Tombstone | None:
        with self.faults.unnoticed():
            return self.flow.images.find(self.owner(image_id), [image_id]).get(image_id)

    def new_upload(self, *, good: bool) -> str:
        image_id = f"img_{len(self.uploads)}"
        body = picture(len(self.uploads)) if good else picture(len(self.uploads))[:200]
        upload = jpeg_upload(image_id, body)
        self.uploads[image_id] = ((self.flow.acme, self.flow.other)[len(self.uploads) % 2], upload)
        return image_id

    def upload(self, image_id: str) -> None:
        """Send it, once more under the same key if it was sent before."""
        owner, upload = self.uploads[image_id]
        if self._request(lambda: send_upload(self.flow, owner, upload)):
            self.accepted.add(image_id)

    def delete(self, image_id: str) -> None:
        if self.row(image_id) is None:
            return
        self.asked_to_go.add(image_id)
        flow = self.flow
        publish = Publish(flow.publisher)
        if self._request(lambda: publish([delete(flow.images, self.owner(image_id), image_id, flow.clock.now())])):
            self.gone.add(image_id)

    def retry(self, image_id: str) -> None:
        row = self.row(image_id)
        if isinstance(row, ImageRecord):
            self._request(lambda: self._publish(self._retry(self.owner(image_id), row)))

    def replay(self) -> None:
        """Every open dead letter, by an operator."""
        letters = self.flow.dead_letters
        self._request(lambda: self._replay(letters.page(DeadLetterFilter(state="open"), None, 100)))

    def would_replay(self, letters: Sequence[DeadLetterEntry]) -> list[str | None]:
        """Why each would be refused, by force as well."""
        with self.faults.unnoticed():
            return [verdict.refused for verdict in self._replay(letters, force=True, dry_run=True)]

    def _request(self, work: Callable[[], Any]) -> bool:
        """An HTTP request: whether it was answered as wanted. A client hears nothing of a process that dies."""
        try:
            work()
        except (*FATAL, DependencyUnavailable, PipelineError, ApiError):
            return False
        finally:
            self.flow.forward()
        return True

    def deliver(self, topic: str, order: Iterable[int] = (), count: int | None = None) -> None:
        """Hand over a batch of a topic, its records first put into an order."""
        queue = self.flow.records[topic]
        for position in order:
            queue.rotate(-(position % (len(queue) or 1)))
            queue.append(queue.popleft())
        with suppress(*FATAL):
            self.flow.deliver(topic, count)

    def again(self, position: int) -> None:
        """A record that was delivered before comes again."""
        if log := self.flow.log:
            record = log[position % len(log)]
            self.flow.records[record["topic"]].append(record)

    def receive(self, *, times: int = 1) -> None:
        """The delay queue's messages."""
        if self.flow.retries.messages:
            with suppress(*FATAL, DependencyUnavailable):
                self.flow.retry(times=times)
            self.flow.forward()

    def tick(self) -> None:
        """The schedule's minute; a job that breaks leaves the others alone."""
        self._minutes += 1
        for job in JOBS:
            with suppress(Crash, Exception):
                events = self.flow.build(job)()
                source = f"{job.name}/{self._minutes}"
                self.flow.publisher.publish(
                    [OutgoingMessage(event, follow_up_id(job.name, source, n)) for n, event in enumerate(events)]
                )
        self.flow.forward()

    def drain(self, minutes: int = 400) -> None:
        """Everybody comes back; time passes until nothing is left to do."""
        self.faults.away.clear()
        for _ in range(minutes):
            self.flow.run()
            if not (self.flow.retries.messages or self.flow.pending._rows or self.due()):
                return
            self.flow.clock.skip(timedelta(minutes=1))
            self.receive()
            self.tick()
        raise AssertionError(f"still there: {self.flow.retries.messages} {self.flow.pending._rows} {self.due()}")

    def due(self) -> list[str]:
        return [delivery.id for delivery in self.flow.webhooks.kept.values() if delivery.state == "waiting"]

    def sweep(self) -> None:
        """The days go by that leave nothing young enough to be left alone."""
        for _ in range(3):
            self.flow.clock.skip(timedelta(days=2))
            self.flow.maintenance_runs.changed([self.flow.acme.id, self.flow.other.id], self.flow.clock.now())
            self.tick()
            self.flow.run()
            self.drain()

    def replay_every_topic(self) -> None:
        """The groups' offsets go back to 0."""
        for record in list(self.flow.log):
            self.flow.records[record["topic"]].append(record)
        self.drain()

    def snapshot(self) -> dict[str, Any]:
        """All that must be the same however often something is delivered."""
        flow = self.flow
        with self.faults.unnoticed():
            return {
                "rows": {image_id: self.row(image_id) for image_id in self.uploads},
                "timelines": {i: flow.images.timeline(self.owner(i), i) for i in self.uploads},
                "objects": {o.id: {e.key: e.etag for e in flow.stores.for_tenant(o).list()} for o in self.owners},
                "points": {o.id: self.points(o) for o in self.owners},
                "usage": dict(flow.usage.totals),
                "letters": dict(flow.dead_letters.kept),
                "deliveries": set(flow.webhooks.kept),
                "sent": len(flow.webhook_sender.sent),
                "pending": dict(flow.pending._rows),
            }

    @property
    def owners(self) -> list[Tenant]:
        return [self.flow.acme, self.flow.other]

    def points(self, owner: Tenant) -> dict[str, Any]:
        return {point.image_id: point.vector for point in self.flow.index._collections[owner.collection][1].values()}

    def objects(self, owner: Tenant) -> dict[str, set[str]]:
        """Keys by image."""
        found: dict[str, set[str]] = {}
        with self.faults.unnoticed():
            for entry in self.flow.stores.for_tenant(owner).list():
                found.setdefault(image_of(entry.key) or "", set()).add(entry.key)
        return found

    def value_of(self, record: dict[str, Any]) -> bytes:
        return b64decode(record["value"])

    def metered(self, metric: str) -> float:
        """Of all tenants and days."""
        return sum(total for (_, _, name), total in self.flow.usage.totals.items() if name == metric)

    def told(self) -> Counter[tuple[str, str]]:
        """Deliveries by type and image."""
        bodies = [json.loads(delivery.body) for delivery in self.flow.webhooks.kept.values()]
        return Counter((body["type"], body["data"]["imageId"]) for body in bodies)


def complete_set(image_id: str) -> set[str]:
    return {f"images/{image_id}.jpg", *derived_keys(image_id)}
