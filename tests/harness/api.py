"""The API on fakes, with two tenants, their keys, and a pipeline that tests run step by step."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from typing import Any

import httpx
from deeplens.access.model import AuditEntry
from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.bootstrap.container import Container
from deeplens.bootstrap.search_api import create_app
from deeplens.common.outgoing import OutgoingMessage, OutgoingRecord
from deeplens.common.resolve import Resolver
from deeplens.duplicates.model import DuplicateVerdict, Evidence, Pair, in_order, pair_id
from deeplens.egress.rules import EgressRules
from deeplens.embedding.model import ModelRef
from deeplens.images.keys import processed_key
from deeplens.images.model import NewImage, StageResult, Step
from deeplens.images.payload import payload_of
from deeplens.imaging.limits import Limits
from deeplens.settings import Settings
from deeplens.stores.model import StorePlatform
from deeplens.stores.resolver import OpenStores
from deeplens.tenants.model import Tenant
from deeplens.vectors.ports import Point
from deeplens.videos.model import NewVideo, Segment, VideoFacts
from deeplens.webhooks.model import WebhookSigner
from deeplens.whatsapp.incoming import WhatsAppSecrets
from PIL import Image
from starlette.testclient import TestClient

from tests.fakes.db import (
    FakeApiKeys,
    FakeDirectory,
    FakeEventLog,
    FakeImages,
    FakePending,
    FakeRequestCounters,
    FakeTenantRecords,
)
from tests.fakes.duplicates import FakeDuplicates, FakeMergeDeadlines
from tests.fakes.embedding import THRESHOLDS, FakeEmbedder
from tests.fakes.failures import FakeDeadLetters
from tests.fakes.maintenance import FakeMaintenanceRuns
from tests.fakes.rollouts import FakeRollouts, FakeVectorStates
from tests.fakes.storage import MemoryStores
from tests.fakes.stores import FakeRegisteredStores, FakeSecrets, FakeStoreObjects
from tests.fakes.traces import FakeTraces
from tests.fakes.uploads import FakeDirectUploads, FakeObjectQueue
from tests.fakes.usage import FakeBudgets
from tests.fakes.vectors import FakeIndex
from tests.fakes.videos import FakePendingVideos, FakeVideos
from tests.fakes.webhooks import FakeWebhooks
from tests.fakes.whatsapp import FakeChats
from tests.harness.applications import application
from tests.harness.decoders import image_decoder

MODEL = ModelRef("deeplens-visual", "1", 8)
START = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)


def tenant(name: str, status: Any = "active") -> Tenant:
    return Tenant(f"tenant_{name}", name, status, "", f"s3://tenant-{name}", "", MODEL, THRESHOLDS)


@cache
def picture(seed: int = 0, size: tuple[int, int] = (64, 48), format: str = "JPEG") -> bytes:
    """An image of one colour that the fake embedder tells from any other."""
    colour = tuple(hashlib.sha256(str(seed).encode()).digest()[:3])
    out = BytesIO()
    Image.new("RGB", size, colour).save(out, format)
    return out.getvalue()


MP4_HEAD = b"\0\0\0\x18ftypisom\0\0\2\0isomavc1" + bytes(200)


def video_beside(image_id: str) -> str:
    return f"vid_{image_id[4:]}"


class TickingClock:
    """Each look is a second later."""

    def __init__(self) -> None:
        self._seconds, self._skipped = itertools.count(), timedelta()

    def now(self) -> datetime:
        return START + timedelta(seconds=next(self._seconds)) + self._skipped

    def skip(self, time: timedelta) -> None:
        self._skipped += time


@dataclass
class RecordingPublisher:
    """Keeps what was delivered; ``away`` counts the messages that will be lost first."""

    away: int = 0
    sent: list[OutgoingMessage] = field(default_factory=list)
    resent: list[OutgoingRecord] = field(default_factory=list)

    def connect(self) -> None: ...

    def publish(self, messages: Sequence[OutgoingMessage]) -> list[bool]:
        if self.away:
            self.away -= 1
            return [False] * len(messages)
        self.sent += messages
        return [True] * len(messages)

    def resend(self, records: Sequence[OutgoingRecord]) -> list[bool]:
        if self.away:
            self.away -= 1
            return [False] * len(records)
        self.resent += records
        return [True] * len(records)


class RecordingAudit:
    """Keeps what was noted, as (action, outcome)."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []

    def append(self, entry: AuditEntry, outcome: str) -> None:
        self.entries.append((entry.action, outcome))


class World(Resolver):
    """Container of the API, each a fake, and clients of tenants ``acme`` and ``other``."""

    providers = Container.providers

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.limits, self.pending_due = Limits(), timedelta(minutes=10)
        self.decoder = image_decoder()
        self.default_limits = Container(self.settings).default_limits
        self.acme, self.other = tenant("acme"), tenant("other")
        self.tenants = FakeDirectory(self.acme, self.other)
        self.tenant_records = FakeTenantRecords(self.tenants)
        self.clock, self.images, self.pending = TickingClock(), FakeImages(), FakePending(window=200)
        self.stores, self.index, self.embedder = MemoryStores(), FakeIndex(), FakeEmbedder(MODEL)
        self.videos, self.pending_videos = FakeVideos(self.images), FakePendingVideos()
        self.pending_videos_due = timedelta(minutes=30)
        self.video_limits = Container(self.settings).video_limits
        self.publisher, self.api_keys = RecordingPublisher(), FakeApiKeys()
        self.uploads, self.object_queue = FakeDirectUploads(), FakeObjectQueue()
        self.audit = RecordingAudit()
        self.request_counters = FakeRequestCounters()
        self.usage = self.request_counters.usage
        self.budgets, self.event_log = FakeBudgets(self.usage, self.tenants), FakeEventLog(self.images)
        self.dead_letters, self.traces = FakeDeadLetters(), FakeTraces()
        self.duplicates, self.merge_deadlines = FakeDuplicates(self.images), FakeMergeDeadlines()
        self.vector_states, self.rollouts = FakeVectorStates(self.images), FakeRollouts(self.tenants)
        self.webhooks, self.webhook_signer = FakeWebhooks(self.tenants), WebhookSigner(lambda: 40 * "k")
        self.chats, self.whatsapp_secrets = FakeChats(self.tenants), WhatsAppSecrets()
        self.egress = EgressRules()
        self.registered_stores, self.store_objects = FakeRegisteredStores(self.tenants), FakeStoreObjects()
        self.secret_store = FakeSecrets()
        self.open_stores = OpenStores(
            self.settings, lambda: self.registered_stores, lambda: self.secret_store, self.egress
        )
        self.maintenance_runs, self.sweep_grace = FakeMaintenanceRuns(), timedelta(days=1)
        for owner in (self.acme, self.other):
            self.stores.for_tenant(owner).ensure()
            self.index.create_collection(owner)
        self.app, self.admin_app = application(create_app, self), application(create_admin_app, self)
        self.client = self.client_of(self.acme)

    @property
    def store_platform(self) -> StorePlatform:
        return Container(self.settings).store_platform

    @property
    def max_upload_bytes(self) -> int:
        return self.settings.max_upload_bytes

    def client_of(self, owner: Tenant, *scopes: str) -> TestClient:
        given = scopes or ("deeplens.api.read", "deeplens.api.write")
        return self.anonymous({"X-API-Key": self.api_keys.create(owner.id, "test", given)})

    def anonymous(self, headers: dict[str, str] | None = None) -> TestClient:
        return TestClient(self.app, headers=headers, follow_redirects=False)

    def operator(self) -> TestClient:
        """The Admin API, called with an operator's key."""
        return self.administrator(None)

    def administrator(self, tenant_id: str | None) -> TestClient:
        key = self.api_keys.create(tenant_id, "test", ("deeplens.api.admin",))
        return TestClient(self.admin_app, headers={"X-API-Key": key}, follow_redirects=False)

    def upload(self, body: bytes | None = None, key: str | None = None, **form: Any) -> httpx.Response:
        return self.client.post(
            "/v1/images",
            files={"file": (form.pop("name", "harbour.jpg"), picture() if body is None else body)},
            data=form,
            headers={"Idempotency-Key": key} if key else {},
        )

    def searchable(self, seed: int = 0, owner: Tenant | None = None, **form: Any) -> str:
        """Upload a picture and do what the pipeline would; returns its id."""
        owner = owner or self.acme
        answer = self.client_of(owner).post("/v1/images", files={"file": ("a.jpg", picture(seed))}, data=form)
        image_id: str = answer.json()["imageId"]
        self.process(image_id, picture(seed), owner)
        return image_id

    def grouped(self, *image_ids: str, verdict: DuplicateVerdict = "near", owner: Tenant | None = None) -> str:
        """Have images found to be duplicates, each of the next; returns their group's id."""
        owner, now = owner or self.acme, self.clock.now()
        rows = [self.images.rows(owner)[image_id] for image_id in image_ids]
        pairs = [in_order(*two) for two in itertools.pairwise(rows)]
        found = [
            Pair(pair_id(a.id, b.id), a.id, b.id, verdict, Evidence(a.sha256 == b.sha256, 0.9, 3), "m 1", now)
            for a, b in pairs
        ]
        self.duplicates.save(owner, found)
        recorded = self.duplicates.record(owner, [pair.id for pair in found], now)
        return recorded.groups[found[0].id]

    def video(self, video_id: str, owner: Tenant | None = None, frames: Sequence[tuple[float, int]] = ()) -> None:
        """A video that has been probed, with searchable frames: offset, and the seed of the picture there."""
        owner = owner or self.acme
        store, now = self.stores.for_tenant(owner), self.clock.now()
        path = store.uri(f"videos/{video_id}.mp4")
        video = NewVideo(video_id, f"{video_id}.mp4", path, "video/mp4", 8, "0" * 64, now, ("film",))
        self.videos.insert(owner, video)
        store.put(f"videos/{video_id}.mp4", MP4_HEAD, "video/mp4")
        store.put(f"posters/{video_id}.jpg", picture(1), "image/jpeg")
        facts, segment = VideoFacts(60, 64, 48, 25, "h264", "mp4"), Segment(0, 0, 60, 100, 5, last=True)
        self.videos.plan(owner, video_id, facts, [segment])
        for offset, seed in frames:
            image_id = f"img_{video_id[4:]}{round(offset * 1000)}"
            body, path = picture(seed), store.uri(f"images/{image_id}.jpg")
            new = NewImage(image_id, "", path, "image/jpeg", len(body), hashlib.sha256(body).hexdigest(), now)
            store.put(f"images/{image_id}.jpg", body, "image/jpeg")
            self.videos.add_frames(owner, video_id, [replace(new, frame_offset_seconds=offset)])
            self.process(image_id, body, owner)
        self.videos.finish_segment(owner, video_id, 0)

    def process(self, image_id: str, body: bytes, owner: Tenant | None = None, **changes: Any) -> None:
        """What the pipeline does; ``body`` stands for the standard image."""
        owner = owner or self.acme
        row = self.images.find(owner, [image_id])[image_id]
        self.stores.for_tenant(owner).put(processed_key(image_id), body, "image/jpeg")
        vector = self.embedder.embed([body], MODEL)[0].tolist()
        self.index.upsert(owner, [Point(image_id, vector, payload_of(row, owner))])
        model = {"model": MODEL.name, "model_version": MODEL.version}
        self.reach(image_id, Step.COMPLETED, owner, changes=model | changes)

    def reach(self, image_id: str, step: Step, owner: Tenant | None = None, **result: Any) -> None:
        done = StageResult(image_id, 1, step, step.name.lower(), self.clock.now(), 0.5, **result)
        self.images.advance(owner or self.acme, [done])

    def mark_deleted(self, image_id: str) -> None:
        self.images.mark_deleted(self.acme, image_id, self.clock.now())

    def stored(self, prefix: str = "", owner: Tenant | None = None) -> list[str]:
        return [entry.key for entry in self.stores.for_tenant(owner or self.acme).list(prefix)]
