"""a bucket's notification → the uploaded file, checked, as an image or a video → images. or videos.uploaded"""

from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import timedelta
from random import Random
from typing import ClassVar

from deeplens.common.backoff import RetryAfter, plan_retry
from deeplens.common.batch import followed_by, in_parallel
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome, Waiting, attempt, unforeseen
from deeplens.duplicates.model import Duplicates
from deeplens.errors import DependencyUnavailable, ObjectNotFound, PipelineError, TenantNotFound
from deeplens.events.bucket import Notification, Place
from deeplens.formats.kinds import kind_of
from deeplens.images.keys import original_prefix
from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.images.ports import ImageRepository, PendingDue, PendingImages
from deeplens.imaging import Limits
from deeplens.storage.ports import ObjectStore, StoreResolver
from deeplens.stores.model import RegisteredStores
from deeplens.stores.notices import StoreNotices
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.uploads.accept_object import Accept
from deeplens.uploads.check import CheckUpload, head_of
from deeplens.uploads.ingest_video import IngestVideo
from deeplens.uploads.model import (
    ATTEMPTS,
    CLAIMED_FOR,
    SOON,
    DirectUpload,
    DirectUploads,
    Refusal,
    StoreOwners,
    roots_of,
    upload_key,
    upload_of,
)
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.keys import video_prefix
from deeplens.videos.model import PendingVideos, PendingVideosDue, VideoRecord, VideoRepository, VideoTombstone

UNKNOWN = "not an upload of ours"

type Taken = ImageRecord | Tombstone | VideoRecord | VideoTombstone


class Ingest:
    """Turn what clients wrote to ``uploads/`` into accepted images and videos.

    Consumes ``Notification``, emits ``ImageUploaded``, ``VideoUploaded``, and ``ImageMaintenance`` about tenants' own
    buckets. Safe to repeat and to stop anywhere: the ids follow from the upload's, the file is copied before it is
    checked, and one worker at a time has an upload. What fails for good ends as ``failed`` with its reason in the
    upload's row; what fails for the time being is looked after by the schedule, so no message is given up for a
    tenant's fault.
    """

    name: ClassVar = "ingest"
    consumes: ClassVar = Notification

    def __init__(
        self,
        tenants: TenantDirectory,
        store_owners: StoreOwners,
        stores: StoreResolver,
        uploads: DirectUploads,
        images: ImageRepository,
        duplicates: Duplicates,
        pending: PendingImages,
        videos: VideoRepository,
        pending_videos: PendingVideos,
        pending_videos_due: PendingVideosDue,
        video_limits: VideoLimits,
        workers: Executor,
        limits: Limits,
        default_limits: ResourceLimits,
        pending_due: PendingDue,
        registered_stores: RegisteredStores,
        rng: Random,
        clock: Clock,
    ) -> None:
        self._tenants, self._owners, self._stores, self._uploads = tenants, store_owners, stores, uploads
        self._images, self._workers, self._rng, self._clock = images, workers, rng, clock
        self._pending, self._pending_due = pending, pending_due
        self._videos, self._check = videos, CheckUpload(limits)
        self._accept_video = AcceptVideo(videos, pending_videos, pending_videos_due, clock)
        self._ingest_video = IngestVideo(self._accept_video, video_limits, default_limits, clock)
        self._accept = Accept(images, duplicates, pending, default_limits, pending_due)
        self._notices = StoreNotices(registered_stores, clock)

    def __call__(self, batch: Sequence[Notification]) -> list[Outcome]:
        places = [place for notification in batch for place in notification.places]
        owners = self._owners.owners([root for place in places for root in roots_of(place)]) if places else {}
        ended = iter(in_parallel(self._workers, lambda place: attempt(lambda: self._object(place, owners)), places))
        outcomes = [together([next(ended) for _ in notification.places]) for notification in batch]
        looks = self._notices(batch)
        return [followed_by([outcome], events)[0] for outcome, events in zip(outcomes, looks, strict=True)]

    def _object(self, place: Place, owners: dict[str, str]) -> Outcome:
        """One new object. Whose it is, the bucket says; a client never does."""
        upload_id = upload_of(place.key)
        tenant_id = next((owners[root] for root in roots_of(place) if root in owners), None)
        if upload_id is None or tenant_id is None:
            return Done(dropped=UNKNOWN)
        try:
            tenant = self._tenants.get(tenant_id)
        except TenantNotFound:
            return Done(dropped="its tenant is gone")
        return self._upload(tenant, upload_id)

    def _upload(self, tenant: Tenant, upload_id: str) -> Outcome:
        upload = self._uploads.find(tenant.id, upload_id)
        if upload is None:
            return Done(dropped=UNKNOWN)
        if upload.status != "open":
            return self._repeated(tenant, upload)
        now = self._clock.now()
        if not self._uploads.claim(tenant.id, upload.id, now, now + CLAIMED_FOR):
            return Done(dropped="somebody else has it")
        try:
            return self._ingested(tenant, upload)
        except DependencyUnavailable as error:
            self._uploads.put_off(tenant.id, upload.id, now + SOON)
            return Waiting(error)
        except PipelineError as error:
            return self._refused(tenant, upload, error)
        except Exception as error:
            return self._refused(tenant, upload, unforeseen(error))

    def _ingested(self, tenant: Tenant, upload: DirectUpload) -> Outcome:
        store = self._stores.for_tenant(tenant)
        found = self._known(tenant, upload)
        if found is None:
            try:
                found = self._taken(tenant, upload, store)
            except ObjectNotFound:
                # A late message, or the file was replaced by nothing; the schedule decides when its time is up.
                self._uploads.put_off(tenant.id, upload.id, upload.due)
                return Done(dropped="the object is gone")
        self._uploads.end(tenant.id, upload.id, "ingested", self._clock.now())
        # Last: until here, a repeat needs the row or the object.
        store.delete([upload.key])
        return self._followed(tenant, found)

    def _known(self, tenant: Tenant, upload: DirectUpload) -> Taken | None:
        """What the upload has become."""
        image = self._images.find(tenant, [upload.image_id]).get(upload.image_id)
        return image or self._videos.find(tenant, upload.video_id)

    def _taken(self, tenant: Tenant, upload: DirectUpload, store: ObjectStore) -> Taken | None:
        """What the upload becomes, which the file itself says."""
        if kind_of(head_of(store, upload.key)) == "video":
            return self._ingest_video(tenant, upload, store)
        return self._accept(tenant, upload, self._check(store, upload), store, self._clock.now())

    def _repeated(self, tenant: Tenant, upload: DirectUpload) -> Outcome:
        """The same notification once more, or a file that was sent after the end: it is never looked at."""
        self._stores.for_tenant(tenant).delete([upload.key])
        found = self._known(tenant, upload)
        return self._followed(tenant, found) if upload.status == "ingested" else Done(dropped=upload.status)

    def _followed(self, tenant: Tenant, image: Taken | None) -> Done:
        """What follows from an accepted image or video, again and again until the first stage has run."""
        if isinstance(image, VideoRecord) and image.status == "accepted":
            return Done(self._accept_video.again(tenant, image))
        if not isinstance(image, ImageRecord) or image.step is not Step.ACCEPTED:
            return Done(dropped="ingested before")
        return Done(self._accept.events(tenant, image, self._clock.now()))

    def _refused(self, tenant: Tenant, upload: DirectUpload, error: PipelineError) -> Outcome:
        refusal = Refusal(error.code, str(error) or error.code, error.retryable)
        plan = plan_retry(error.retryable, upload.attempts + 1, ATTEMPTS, self._rng)
        now = self._clock.now()
        if isinstance(plan, RetryAfter):
            self._uploads.put_off(tenant.id, upload.id, now + timedelta(seconds=plan.seconds), refusal)
            return Done(dropped=f"waits: {error.code}")
        store = self._stores.for_tenant(tenant)
        if self._known(tenant, upload) is None:
            prefixes = (original_prefix(upload.image_id), video_prefix(upload.video_id))
            copies = [entry.key for prefix in prefixes for entry in store.list(prefix)]
            store.delete([*copies, upload_key(upload.id)])
        released = self._pending.finish([(tenant.id, upload.image_id)], now + self._pending_due)
        self._uploads.end(tenant.id, upload.id, "failed", now, refusal)
        return Done(tuple(released), dropped=None if released else error.code)


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of a message about several objects: it comes again if one of them has to."""
    for kind in (Waiting, Failed):
        if chosen := next((one for one in outcomes if isinstance(one, kind)), None):
            return chosen
    done = [one for one in outcomes if isinstance(one, Done)]
    events = tuple(event for one in done for event in one.events)
    return Done(events, dropped=None if events else next((one.dropped for one in done), "nothing to do"))
