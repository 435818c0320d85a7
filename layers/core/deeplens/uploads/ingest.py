"""a bucket's notification → the uploaded file, checked, as an image or a video → images. or videos.uploaded"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import ClassVar

from deeplens.common.backoff import RetryAfter, plan_retry
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Failed, Outcome, Waiting, attempt, followed_by, in_parallel, unforeseen
from deeplens.duplicates.model import Duplicates
from deeplens.errors import (
    ChecksumMismatch,
    DependencyUnavailable,
    DuplicateImage,
    FileTooLarge,
    ObjectNotFound,
    PipelineError,
    QuotaExceeded,
    StorageFull,
    TenantNotFound,
    TransientError,
)
from deeplens.events.bucket import BucketNotification, ObjectLocation
from deeplens.events.images import ImageUploaded
from deeplens.formats.errors import VideoTooLarge
from deeplens.formats.images import sniff
from deeplens.formats.videos import HEAD_BYTES, kind_of, sniff_video
from deeplens.images.keys import original_key, original_prefix
from deeplens.images.model import ImageRecord, NewImage, Step, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import AdmitImages, image_uploaded
from deeplens.imaging.decoder import ImageDecoder
from deeplens.imaging.limits import Limits
from deeplens.storage.ports import ObjectStore, StoreResolver
from deeplens.stores.notifications import StoreNotifications
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
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
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.model import NewVideo, VideoRecord, VideoRepository

HASHED_AT_ONCE_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class IngestImage:
    """Copy the file to where no client can write, check the copy, and accept it as ``POST /v1/images`` does.

    Whatever a client writes in the meantime, the checked copy is the original. What a stopped attempt leaves is
    found and resumed.
    """

    images: ImageRepository
    duplicates: Duplicates
    admit_images: AdmitImages
    limits: Limits
    decoder: ImageDecoder
    default_limits: ResourceLimits
    clock: Clock

    def __call__(
        self, tenant: Tenant, upload: DirectUpload, store: ObjectStore, released: list[ImageUploaded]
    ) -> ImageRecord | Tombstone:
        """The image's row.

        Parameters
        ----------
        released : gets the events of other images that took the place of a withdrawn file; to be published.

        Raises
        ------
        ObjectNotFound
            There is no such object (any more).
        InvalidImage
            The file is larger than declared, has another digest, or is no image that is accepted.
        StorageFull
            Beyond the tenant's quota, with nothing left pending.
        DuplicateImage
            The tenant rejects duplicate files and has this one; the row is given up.
        TransientError
            Another file replaced this one meanwhile.
        """
        image, event = self._checked_copy(tenant, upload, store)
        first = self._admit(tenant, event, released)
        row = replace(image, storage_path=first.storage_path, uploaded_at=first.uploaded_at)
        try:
            found = self.images.insert(tenant, row, tenant.effective_limits(self.default_limits))
        except QuotaExceeded as error:
            raise storage_full(error) from error
        if tenant.duplicates.action == "reject" and (same := self.duplicates.reserve(tenant, upload.image_id)):
            raise DuplicateImage(f"{same} has the same bytes, and this tenant rejects duplicate files")
        return found

    def _checked_copy(self, tenant: Tenant, upload: DirectUpload, store: ObjectStore) -> tuple[NewImage, ImageUploaded]:
        """The image, of a checked copy below ``images/``, and its event."""
        check_size(size := store.head(upload.key).size_bytes, upload)
        if size > self.limits.max_bytes:
            raise FileTooLarge(f"{size} bytes arrived; an image may have at most {self.limits.max_bytes}")
        kind = sniff(head_of(store, upload.key))
        key = original_key(upload.image_id, kind.extension)
        store.copy(upload.key, key, kind.mime_type)
        body = store.get(key)
        check_size(len(body), upload)
        check_digest(digest := hashlib.sha256(body).hexdigest(), upload)
        header = self.decoder.inspect(body)
        if header.type != kind:
            raise replaced_meanwhile()
        now = self.clock.now()
        image = upload.as_row(NewImage, upload.image_id, store.uri(key), kind.mime_type, len(body), digest, now)
        known = {"width": header.width, "height": header.height, "format": kind.format, "sha256": digest}
        return image, image_uploaded(tenant.id, image, known)

    def _admit(self, tenant: Tenant, event: ImageUploaded, released: list[ImageUploaded]) -> ImageUploaded:
        admitted = self.admit_images.admit(event).event
        if admitted.metadata.get("sha256") == event.metadata["sha256"]:
            return admitted
        # An attempt that stopped before the row had another file; its event was never published.
        released += self.admit_images.withdraw(tenant, event.image_id)
        return self.admit_images.admit(event).event


@dataclass(frozen=True, slots=True)
class IngestVideo:
    """Copy the file and check the copy, as with images; but a video is never in memory as a whole."""

    accept: AcceptVideo
    video_limits: VideoLimits
    default_limits: ResourceLimits
    clock: Clock

    def __call__(self, tenant: Tenant, upload: DirectUpload, store: ObjectStore) -> VideoRecord | Tombstone | None:
        """The video's row. Raises ``InvalidVideo``, and as ``IngestImage`` does."""
        self._check_size(store, upload.key, upload)
        kind = sniff_video(head_of(store, upload.key))
        key = original_key(upload.video_id, kind.extension)
        store.copy(upload.key, key, kind.mime_type)
        size = self._check_size(store, key, upload)
        if sniff_video(head_of(store, key)) != kind:
            raise replaced_meanwhile()
        if upload.sha256 is not None:
            check_digest(digest_of(store, key), upload)
        now = self.clock.now()
        video = upload.as_row(NewVideo, upload.video_id, store.uri(key), kind.mime_type, size, upload.sha256, now)
        try:
            return self.accept(tenant, video, tenant.effective_limits(self.default_limits))[0]
        except QuotaExceeded as error:
            raise storage_full(error) from error

    def _check_size(self, store: ObjectStore, key: str, upload: DirectUpload) -> int:
        size = store.head(key).size_bytes
        check_size(size, upload)
        if size > self.video_limits.max_bytes:
            raise VideoTooLarge(f"{size} bytes arrived; a video may have at most {self.video_limits.max_bytes}")
        return size


def check_size(size_bytes: int, upload: DirectUpload) -> None:
    """Raise ``FileTooLarge`` where more arrived than was declared."""
    if size_bytes > upload.size_bytes:
        raise FileTooLarge(f"{size_bytes} bytes arrived, {upload.size_bytes} were declared")


def check_digest(sha256: str, upload: DirectUpload) -> None:
    """Raise ``ChecksumMismatch`` where another digest was declared."""
    if upload.sha256 not in (None, sha256):
        raise ChecksumMismatch(f"the SHA-256 of what arrived is {sha256}, not {upload.sha256}")


def head_of(store: ObjectStore, key: str) -> bytes:
    """Enough of an object to tell its format."""
    return store.get_range(key, 0, HEAD_BYTES)


def digest_of(store: ObjectStore, key: str) -> str:
    """The SHA-256 of an object that is too large for memory, and that nobody replaces."""
    digest, position = hashlib.sha256(), 0
    while chunk := store.get_range(key, position, HASHED_AT_ONCE_BYTES):
        digest.update(chunk)
        position += len(chunk)
    return digest.hexdigest()


def replaced_meanwhile() -> TransientError:
    return TransientError("another file replaced this one while it was read")


def storage_full(error: QuotaExceeded) -> StorageFull:
    return StorageFull(f"your tenant's quota has no room for this file: {error}")


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
