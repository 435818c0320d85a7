"""The whole flow in memory: real handlers and stages over fakes, records going round by hand."""

import base64
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from random import Random
from typing import Any

from deeplens.bootstrap.container import Container
from deeplens.bootstrap.maintenance import MaintenanceRegistry
from deeplens.common.event import Event
from deeplens.common.outgoing import OutgoingMessage, OutgoingRecord
from deeplens.duplicates.detect import DetectDuplicates
from deeplens.duplicates.record import RecordDuplicates
from deeplens.embedding.model import ModelRef
from deeplens.events.bucket import ObjectLocation, notification_of
from deeplens.events.images import ImageUploaded
from deeplens.events.topics import RETRIES, TOPIC_OF, topic_of
from deeplens.events.videos import VideoUploaded
from deeplens.failures.fail import Fail
from deeplens.failures.send_again import SendAgain
from deeplens.failures.store import StoreDeadLetters, read_dead_letter
from deeplens.images.model import NewImage
from deeplens.imaging.limits import Limits
from deeplens.kafka.handler import BatchHandler
from deeplens.kafka.records import ATTEMPT, EVENT_ID, REPLAYS, STAGE
from deeplens.maintenance.maintain import Maintain
from deeplens.pipeline.complete import Complete
from deeplens.pipeline.extract import Extract
from deeplens.pipeline.index import Index
from deeplens.pipeline.preprocess import Preprocess
from deeplens.settings import Settings
from deeplens.tenants.limits import UNLIMITED
from deeplens.uploads.ingest import Ingest
from deeplens.usage.meter import Meter
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.extract import ExtractFrames
from deeplens.videos.model import NewVideo
from deeplens.webhooks.model import WebhookSigner
from deeplens.webhooks.notify import Notify
from deeplens.whatsapp.collection import ChatCollection
from deeplens.whatsapp.converse import Converse

from tests.fakes.alerts import FakeAlerts, RecordingChannel
from tests.fakes.db import FakeDirectory, FakeImages, FakePending, FakeRequestCounters
from tests.fakes.duplicates import FakeDuplicates, FakeMergeDeadlines
from tests.fakes.embedding import FakeEmbedder
from tests.fakes.failures import FakeDeadLetters
from tests.fakes.maintenance import FakeMaintenanceRuns
from tests.fakes.retries import FakeRetryQueue
from tests.fakes.retries import message as sqs_message
from tests.fakes.rollouts import FakeRollouts, FakeVectorStates
from tests.fakes.storage import MemoryStores
from tests.fakes.stores import FakeRegisteredStores, FakeStoreObjects
from tests.fakes.uploads import FakeDirectUploads, FakeObjectQueue, FakeStoreOwners
from tests.fakes.usage import FakeBudgets
from tests.fakes.vectors import FakeIndex
from tests.fakes.videos import FakePendingVideos, FakeVideos
from tests.fakes.webhooks import FakeWebhooks, RecordingSender
from tests.fakes.whatsapp import FakeChats, FakeWhatsApp
from tests.harness.api import MODEL, RecordingPublisher, TickingClock, picture, tenant
from tests.harness.decoders import image_decoder, video_decoder

OBJECTS = "arn:aws:sqs:us-east-1:000000000000:ObjectQueue"
TARGET = ModelRef("deeplens-visual", "2", 12)
STAGES = (
    ExtractFrames,
    Preprocess,
    Extract,
    Index,
    Complete,
    DetectDuplicates,
    RecordDuplicates,
    Fail,
    Maintain,
    Meter,
    Notify,
    Converse,
    StoreDeadLetters,
)


def no_report(stage: str, finished: Sequence[Any], seconds: float) -> None:
    """Logs and metrics that nobody reads."""


@dataclass
class Flow(MaintenanceRegistry):
    """Topics are queues; ``run`` hands every record to its consumer until all are quiet."""

    providers = Container.providers

    window: int = 200
    frames_window: int | None = None
    records: dict[str, deque[dict[str, Any]]] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    event_ids: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, list[bytes | None]] = field(default_factory=dict)
    handled: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    workers: Executor = field(default_factory=lambda: ThreadPoolExecutor(2))

    def __post_init__(self) -> None:
        self.acme, self.other = tenant("acme"), tenant("other")
        self.tenants = FakeDirectory(self.acme, self.other)
        self.images, self.pending = FakeImages(), FakePending(self.window, self.frames_window)
        self.videos, self.pending_videos = FakeVideos(self.images), FakePendingVideos()
        self.video_limits, self.pending_videos_due = VideoLimits(segment_seconds=4), timedelta(minutes=30)
        self.stores, self.index, self.embedder = MemoryStores(), FakeIndex(), FakeEmbedder(MODEL, TARGET)
        self.dead_letters, self.clock = FakeDeadLetters(), TickingClock()
        self.request_counters = FakeRequestCounters()
        self.usage = self.request_counters.usage
        self.budgets, self.measured_every = FakeBudgets(self.usage, self.tenants), timedelta(minutes=15)
        self.publisher, self.limits = RecordingPublisher(), Limits()
        self.decoder, self.video_decoder = image_decoder(), video_decoder()
        self.duplicates, self.merge_deadlines = FakeDuplicates(self.images), FakeMergeDeadlines()
        self.vector_states, self.rollouts = FakeVectorStates(self.images), FakeRollouts(self.tenants)
        self.retries, self.retry_policies, self.rng = FakeRetryQueue(), RETRIES, Random(7)
        self.uploads, self.object_queue = FakeDirectUploads(), FakeObjectQueue()
        self.store_owners, self.default_limits = FakeStoreOwners(self.acme, self.other), UNLIMITED
        self.backfill_window = 3
        self.maintenance_runs, self.sweep_grace, self.sweep_every = (
            FakeMaintenanceRuns(),
            timedelta(days=1),
            timedelta(days=1),
        )
        self.thumbnails_kept: timedelta | None = None
        self.alerts, self.alert_channel = FakeAlerts(self.dead_letters, self.maintenance_runs), RecordingChannel()
        self.registered_stores, self.store_objects = FakeRegisteredStores(self.tenants), FakeStoreObjects()
        self.scan_window, self.max_image_bytes = 3, 1 << 20
        self.webhooks, self.webhook_sender = FakeWebhooks(self.tenants), RecordingSender()
        self.webhook_signer = WebhookSigner(lambda: 40 * "k")
        self.chats, self.whatsapp = FakeChats(self.tenants), FakeWhatsApp()
        self.replies, self.settings = self.chats.replies, Settings()
        self.pending_due, self.max_media_bytes = timedelta(minutes=10), self.settings.whatsapp_max_media_bytes
        self.chat_collection = self.build(ChatCollection)
        self.maintenance_runs.pending_of = self.pending.count
        for owner in (self.acme, self.other):
            self.stores.for_tenant(owner).ensure()
            self.index.create_collection(owner)
        self.handlers: dict[str, list[BatchHandler]] = {}
        for stage in STAGES:
            self.handlers.setdefault(topic_of_stage(stage), []).append(self.handler(stage))
        self.on_retry_due = self.handler(SendAgain)
        self.on_object_created = self.handler(Ingest)

    def handler(self, stage: Any) -> BatchHandler:
        parse = read_dead_letter if stage is StoreDeadLetters else None
        return BatchHandler(self.build(stage), self.publisher, self.clock, parse)

    def accept(self, image_id: str, body: bytes | None = None, owner: Any = None) -> ImageUploaded:
        """What the API leaves behind when it accepts an upload."""
        owner = owner or self.acme
        body = picture(hash(image_id) % 1000) if body is None else body
        store = self.stores.for_tenant(owner)
        path, now = store.uri(f"images/{image_id}.jpg"), self.clock.now()
        event = ImageUploaded(
            image_id=image_id,
            tenant_id=owner.id,
            file_name="a.jpg",
            storage_path=path,
            mime_type="image/jpeg",
            size_bytes=len(body),
            uploaded_at=now,
        )
        admission = self.pending.admit(event, now + self.pending_due)
        store.put(f"images/{image_id}.jpg", body, "image/jpeg")
        self.images.insert(
            owner, NewImage(image_id, "a.jpg", path, "image/jpeg", len(body), sha256(body).hexdigest(), now)
        )
        if admission.released:
            self.send(event)
        return event

    def accept_video(self, body: bytes, video_id: str = "vid_1", owner: Any = None) -> VideoUploaded | None:
        """What the API leaves behind when it accepts a video."""
        owner = owner or self.acme
        store, key = self.stores.for_tenant(owner), f"videos/{video_id}.mp4"
        video = NewVideo(
            video_id, "film.mp4", store.uri(key), "video/mp4", len(body), None, self.clock.now(), ("film",)
        )
        accept = AcceptVideo(self.videos, self.pending_videos, self.pending_videos_due, self.clock)
        _, event = accept(owner, video, store=lambda: store.put(key, body, "video/mp4"))
        if event:
            self.send(event)
        return event

    def video(self, video_id: str = "vid_1") -> Any:
        return self.videos.find(self.acme, video_id)

    def send(self, event: Event, event_id: str = "") -> None:
        self.put(topic_of(event).name, event.to_wire(), event_id)

    def put(self, topic: str, value: bytes | None, event_id: str = "", **headers: Any) -> None:
        """A record at the end of a topic's only partition."""
        given = {"attempt": ATTEMPT, "replays": REPLAYS, "stage": STAGE}
        named = {EVENT_ID: event_id} | {header: headers.get(name) for name, header in given.items()}
        self.event_ids.setdefault(topic, []).append(event_id)
        self.values.setdefault(topic, []).append(value)
        offset = self.offsets[topic] = self.offsets.get(topic, -1) + 1
        record = {
            "topic": topic,
            "partition": 0,
            "offset": offset,
            "key": None,
            "value": None if value is None else base64.b64encode(value).decode(),
            "headers": [{name: list(str(given).encode())} for name, given in named.items() if given],
        }
        self.log.append(record)
        self.records.setdefault(topic, deque()).append(record)

    def run(self, before: Callable[[str], None] = lambda _: None, rounds: int = 50) -> None:
        """Deliver until nothing is left; ``before`` is called with each topic. What waits is delivered again."""
        for _ in range(rounds):
            waiting = [topic for topic, queue in self.records.items() if queue]
            if not waiting:
                return
            for topic in waiting:
                before(topic)
                self.deliver(topic)
        raise AssertionError(f"still waiting: {[t for t, q in self.records.items() if q]}")

    def deliver(self, topic: str, count: int | None = None) -> None:
        """Hand over the first ``count`` records, or all. What waits, and what a crash leaves, comes again."""
        queue = self.records[topic]
        again = batch = [queue.popleft() for _ in range(min(len(queue), len(queue) if count is None else count))]
        event = {"records": {f"{topic}-0": batch}}
        try:
            failed = [f["itemIdentifier"]["offset"] for f in self.invoke(topic, event)["batchItemFailures"]]
            again = [record for record in batch if failed and record["offset"] >= min(failed)]
        finally:
            queue.extendleft(reversed(again))
            self.forward()

    def invoke(self, topic: str, event: dict[str, Any]) -> dict[str, Any]:
        """Give a batch to every consumer. Where one waits all get it again: every stage may see its event twice."""
        failures: list[Any] = []
        for handler in self.handlers[topic]:
            answer = handler(event, no_report)
            self.handled.append((topic, answer))
            failures += [failure for failure in answer["batchItemFailures"] if failure not in failures]
        return {"batchItemFailures": failures}

    def forward(self) -> None:
        """Put what was published onto its topics."""
        sent, self.publisher.sent = self.publisher.sent, []
        for message in sent:
            self._forward(message)
        resent, self.publisher.resent = self.publisher.resent, []
        for record in resent:
            self._resend(record)

    def _resend(self, record: OutgoingRecord) -> None:
        counts = {"attempt": record.attempt, "replays": record.replays, "stage": record.stage}
        self.put(record.topic, record.value, record.event_id, **counts)

    def retry(self, *, times: int = 1) -> dict[str, Any]:
        """What waits in the delay queue is received, each message ``times`` times, and put onto its topic."""
        event = {"Records": self.retries.receive() * times}
        answer = self.on_retry_due(event, no_report)
        self.retries.answer(event["Records"], answer)
        self.forward()
        return answer

    def notify(self, *places: ObjectLocation) -> dict[str, Any]:
        """Messages of the object queue, about these objects or what was sent to it, reach their function."""
        places = places or tuple(self.object_queue.received())
        bodies = [notification_of(place).to_wire().decode() for place in places]
        event = {"Records": [sqs_message(body, str(n), OBJECTS) for n, body in enumerate(bodies)]}
        answer = self.on_object_created(event, no_report)
        self.forward()
        return answer

    def run_with_retries(self, rounds: int = 60) -> None:
        """Deliver and retry, with the clock put on whenever only retries are left, until nothing waits."""
        for _ in range(rounds):
            self.run()
            if not self.retries.messages:
                return
            self.clock.skip(timedelta(minutes=16))
            self.retry()
        raise AssertionError("still retrying")

    def _forward(self, message: OutgoingMessage) -> None:
        self.put(topic_of(message.event).name, message.event.to_wire(), message.event_id)

    def row(self, image_id: str) -> Any:
        return self.images.find(self.acme, [image_id]).get(image_id)

    def objects(self) -> set[str]:
        return {entry.key for entry in self.stores.for_tenant(self.acme).list()}


def topic_of_stage(stage: Any) -> str:
    return TOPIC_OF[stage.consumes].name
