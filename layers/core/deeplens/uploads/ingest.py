"""a bucket's notification → the uploaded file, checked, as an image or a video → images. or videos.uploaded"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import ClassVar

from deeplens.common.backoff import RetryAfter, plan_retry
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome, Waiting, attempt, followed_by, in_parallel, unforeseen
from deeplens.errors import DependencyUnavailable, ObjectNotFound, PipelineError, TenantNotFound
from deeplens.events.bucket import BucketNotification, ObjectLocation
from deeplens.events.images import ImageUploaded
from deeplens.formats.videos import kind_of
from deeplens.images.admit import AdmitImages
from deeplens.images.keys import original_prefix
from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.storage.ports import ObjectStore, StoreResolver
from deeplens.stores.notifications import StoreNotifications
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.uploads.ingest_media import IngestImage, IngestVideo, head_of
from deeplens.uploads.model import (
    ATTEMPTS,
    CLAIM_RETRY_DELAY,
    CLAIMED_FOR,
    DirectUpload,
    DirectUploads,
    Refusal,
    StoreOwners,
    media_of,
    roots_of,
    upload_of,
)
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.model import VideoRecord, VideoRepository

UNKNOWN = "not an upload of ours"

type Media = ImageRecord | Tombstone | VideoRecord | Tombstone


@dataclass(frozen=True, slots=True)
class IngestUpload:
    """Turn the file of one upload into an accepted image or video; one worker at a time has an upload.

    An upload that fails for good ends as ``failed``, with the reason in its row. After a temporary failure the
    schedule notifies of it again.
    """

    stores: StoreResolver
    uploads: DirectUploads
    images: ImageRepository
    videos: VideoRepository
    ingest_image: IngestImage
    ingest_video: IngestVideo
    admit_images: AdmitImages
    accept_video: AcceptVideo
    rng: Random
    clock: Clock

    def __call__(self, tenant: Tenant, upload_id: str) -> Outcome:
        upload = self.uploads.find(tenant.id, upload_id)
        if upload is None:
            return Done(dropped=UNKNOWN)
        if upload.status != "open":
            return self._clean_up(tenant, upload)
        now = self.clock.now()
        if not self.uploads.claim(tenant.id, upload.id, now, now + CLAIMED_FOR):
            return Done(dropped="another worker has claimed it")
        released = list[ImageUploaded]()
        try:
            outcome = self._ingest(tenant, upload, released)
        except DependencyUnavailable as error:
            self.uploads.put_off(tenant.id, upload.id, now + CLAIM_RETRY_DELAY)
            return Waiting(error)
        except PipelineError as error:
            outcome = self._fail(tenant, upload, error)
        except Exception as error:
            outcome = self._fail(tenant, upload, unforeseen(error))
        return followed_by([outcome], released)[0]

    def _ingest(self, tenant: Tenant, upload: DirectUpload, released: list[ImageUploaded]) -> Outcome:
        store = self.stores.for_tenant(tenant)
        media = media_of(self.images, self.videos, tenant, upload)
        if media is None:
            try:
                media = self._accept(tenant, upload, store, released)
            except ObjectNotFound:
                # A late message, or the client removed the file; the schedule expires the upload when it is due.
                self.uploads.put_off(tenant.id, upload.id, upload.due)
                return Done(dropped="the object is gone")
        self.uploads.end(tenant.id, upload.id, "ingested", self.clock.now())
        # Last: until here, a repeat needs the row or the object.
        store.delete([upload.key])
        return self._events_of(tenant, media)

    def _accept(
        self, tenant: Tenant, upload: DirectUpload, store: ObjectStore, released: list[ImageUploaded]
    ) -> Media | None:
        """The image or video that the file's first bytes say it is."""
        if kind_of(head_of(store, upload.key)) == "video":
            return self.ingest_video(tenant, upload, store)
        return self.ingest_image(tenant, upload, store, released)

    def _clean_up(self, tenant: Tenant, upload: DirectUpload) -> Outcome:
        """Remove a file whose upload has ended: a repeated notification, or one that was sent too late."""
        self.stores.for_tenant(tenant).delete([upload.key])
        media = media_of(self.images, self.videos, tenant, upload)
        return self._events_of(tenant, media) if upload.status == "ingested" else Done(dropped=upload.status)

    def _events_of(self, tenant: Tenant, media: Media | None) -> Done:
        """The event of an accepted image or video, at every repeat until the first stage has run."""
        match media:
            case ImageRecord(step=Step.ACCEPTED):
                return Done(self.admit_images.again(tenant, media))
            case VideoRecord(status="accepted"):
                return Done(self.accept_video.again(tenant, media))
        return Done(dropped="ingested before")

    def _fail(self, tenant: Tenant, upload: DirectUpload, error: PipelineError) -> Outcome:
        refusal = Refusal(error.code, str(error) or error.code, error.retryable)
        plan = plan_retry(error.retryable, upload.attempts + 1, ATTEMPTS, self.rng)
        now = self.clock.now()
        if isinstance(plan, RetryAfter):
            self.uploads.put_off(tenant.id, upload.id, now + timedelta(seconds=plan.seconds), refusal)
            return Done(dropped=f"waits: {error.code}")
        store = self.stores.for_tenant(tenant)
        if media_of(self.images, self.videos, tenant, upload) is None:
            prefixes = (original_prefix(upload.image_id), original_prefix(upload.video_id))
            copies = [entry.key for prefix in prefixes for entry in store.list(prefix)]
            store.delete([*copies, upload.key])
        released = self.admit_images.withdraw(tenant, upload.image_id)
        self.uploads.end(tenant.id, upload.id, "failed", now, refusal)
        return Done(released, dropped=None if released else error.code)


@dataclass(frozen=True, slots=True)
class Ingest:
    """Turn what clients wrote to ``uploads/`` into accepted images and videos.

    Consumes ``BucketNotification``, emits ``ImageUploaded``, ``VideoUploaded``, and ``ImageMaintenance`` about tenants'
    own buckets. Safe to repeat and to stop anywhere: the ids follow from the upload's, and the file is copied before it
    is checked. No message is given up because of a tenant's fault.
    """

    name: ClassVar = "ingest"
    consumes: ClassVar = BucketNotification

    tenants: TenantDirectory
    store_owners: StoreOwners
    ingest_upload: IngestUpload
    store_notifications: StoreNotifications
    workers: Executor

    def __call__(self, batch: Sequence[BucketNotification]) -> list[Outcome]:
        created = [location for notification in batch for location in notification.created]
        roots = [root for location in created for root in roots_of(location)]
        owners = self.store_owners.owners(roots) if roots else {}

        def ingest(location: ObjectLocation) -> Outcome:
            return attempt(lambda: self._ingest_object(location, owners))

        ended = iter(in_parallel(self.workers, ingest, created))
        outcomes = [combine([next(ended) for _ in notification.created]) for notification in batch]
        lookups = self.store_notifications(batch)
        return [followed_by([outcome], events)[0] for outcome, events in zip(outcomes, lookups, strict=True)]

    def _ingest_object(self, location: ObjectLocation, owners: dict[str, str]) -> Outcome:
        """Ingest one new object. Its bucket tells whose it is; a client never does."""
        upload_id = upload_of(location.key)
        tenant_id = next((owners[root] for root in roots_of(location) if root in owners), None)
        if upload_id is None or tenant_id is None:
            return Done(dropped=UNKNOWN)
        try:
            tenant = self.tenants.get(tenant_id)
        except TenantNotFound:
            return Done(dropped="its tenant is gone")
        return self.ingest_upload(tenant, upload_id)


def combine(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of a message about several objects: it comes again if one of them has to."""
    for kind in (Waiting, Failed):
        if chosen := next((outcome for outcome in outcomes if isinstance(outcome, kind)), None):
            return chosen
    done = [outcome for outcome in outcomes if isinstance(outcome, Done)]
    events = tuple(event for outcome in done for event in outcome.events)
    return Done(events, dropped=None if events else next((outcome.dropped for outcome in done), "nothing to do"))
