"""Objects of a store that a tenant registered → images and videos accepted, replaced and deleted."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.errors import ObjectNotFound, QuotaExceeded, StorageFull
from deeplens.events.ids import with_follow_up_id
from deeplens.formats.videos import type_by_name
from deeplens.images.model import NewImage, Step, Tombstone, is_video
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import AdmitImages, deletion_request, image_uploaded, publishable
from deeplens.storage.ports import ObjectInfo, ObjectStore
from deeplens.stores.model import (
    KnownObject,
    MaxImageBytes,
    Media,
    ObjectChange,
    ObjectState,
    StoreObjects,
    TenantStore,
    TenantStores,
    file_name_in,
    image_type,
    judge_present,
)
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import Tenant
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.model import NewVideo, VideoRepository

ADMITTED = {"file_name", "storage_path", "mime_type", "size_bytes", "uploaded_at"}
"""Fields of an image that another admission of the same id may have set first."""
MAX_REMOVALS = 200
STATE_OF: dict[str, ObjectState] = {"delete": "removed", "keep": "kept", "ask": "asked"}


@dataclass(frozen=True, slots=True)
class Observed:
    """The outcome of observing some objects.

    Attributes
    ----------
    seen : how many of the given objects were processed, in order; the window or the quota has no room for the rest.
    counts : by kind of change.
    accepted : newly accepted images and videos.
    full : why the rest cannot be processed now.
    """

    seen: int
    counts: dict[str, int] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    accepted: int = 0
    full: StorageFull | None = None


@dataclass(frozen=True, slots=True)
class AcceptObjects:
    """Accept the image or video of a new object as an upload: pending, then its row, then its event."""

    images: ImageRepository
    admit_images: AdmitImages
    default_limits: ResourceLimits
    videos: VideoRepository
    accept_video: AcceptVideo
    clock: Clock

    def __call__(
        self, tenant: Tenant, source: ObjectStore, changes: list[ObjectChange]
    ) -> tuple[list[Event], int, StorageFull | None]:
        """Accept what is new, up to the first object beyond the quota.

        Returns
        -------
        The events, how many changes were processed, and why not the rest.
        """
        ids = [change.known.image_id if change.known and change.adds else "" for change in changes]
        rows = self.images.find(tenant, [media_id for media_id in ids if media_id and not is_video(media_id)])
        events = list[Event]()
        for position, (media_id, change) in enumerate(zip(ids, changes, strict=True)):
            row = rows.get(media_id)
            if not media_id or isinstance(row, Tombstone) or (row is not None and row.step is not Step.ACCEPTED):
                continue
            accept = self._video if is_video(media_id) else self._image
            try:
                events += accept(tenant, source, change.entry, media_id)
            except QuotaExceeded as error:
                # Others of its tenant take the place of an image that was pending.
                events += self.admit_images.withdraw(tenant, media_id)
                return events, position, StorageFull(f"your tenant's quota has no room for more: {error}")
        return events, len(changes), None

    def _image(self, tenant: Tenant, source: ObjectStore, entry: ObjectInfo, image_id: str) -> list[Event]:
        image = NewImage(
            id=image_id,
            file_name=file_name_in(entry.key),
            storage_path=source.uri(entry.key),
            mime_type=image_type(entry.key) or "",
            size_bytes=entry.size_bytes,
            # The object has not been read yet; the first stage reads it.
            sha256="",
            uploaded_at=self.clock.now(),
        )
        admission = self.admit_images.admit(image_uploaded(tenant.id, image, {"etag": entry.etag}))
        first = admission.event.model_dump(include=ADMITTED)
        self.images.insert(tenant, replace(image, **first), tenant.effective_limits(self.default_limits))
        return [*publishable(admission)]

    def _video(self, tenant: Tenant, source: ObjectStore, entry: ObjectInfo, video_id: str) -> list[Event]:
        row, name = self.videos.find(tenant, video_id), file_name_in(entry.key)
        kind = type_by_name(name)
        if kind is None or isinstance(row, Tombstone) or (row is not None and row.status != "accepted"):
            return []
        video = NewVideo(
            id=video_id,
            file_name=name,
            storage_path=source.uri(entry.key),
            mime_type=kind.mime_type,
            size_bytes=entry.size_bytes,
            sha256=None,
            uploaded_at=self.clock.now(),
        )
        limits = tenant.effective_limits(self.default_limits)
        _, event = self.accept_video(tenant, video, limits, etag=entry.etag)
        return [event] if event else []


@dataclass(frozen=True, slots=True)
class RetireMedia:
    """Mark images and videos as deleted, and return the events that have them removed.

    A sweep makes up for a lost event of an image: it finds tombstones without a receipt.
    """

    images: ImageRepository
    videos: VideoRepository
    clock: Clock

    def __call__(self, tenant: Tenant, media_ids: Iterable[str]) -> tuple[Event, ...]:
        now, events = self.clock.now(), list[Event]()
        for media_id in media_ids:
            video = is_video(media_id)
            if (self.videos if video else self.images).mark_deleted(tenant, media_id, now):
                events.append(deletion_request(tenant.id, media_id, now))
        return tuple(events)


@dataclass(frozen=True, slots=True)
class ObserveObjects:
    """Make the tenant's images what its store holds. Any observation may be repeated, late, or made twice at once.

    The known objects are saved last, so that a repeat after a crash does what is missing.
    """

    stores: TenantStores
    store_objects: StoreObjects
    accept: AcceptObjects
    retire: RetireMedia
    max_image_bytes: MaxImageBytes
    video_limits: VideoLimits

    def present(
        self,
        tenant: Tenant,
        store: TenantStore,
        entries: Sequence[ObjectInfo],
        run_id: str | None = None,
        room: int | None = None,
    ) -> Observed:
        """Process objects that exist.

        Parameters
        ----------
        room : the most images to accept; objects behind the first one beyond it are not processed.
        """
        source = self.stores.registered(tenant, store)
        known = self.store_objects.find(tenant, store.id, [entry.key for entry in entries])
        limits: dict[Media, int] = {"image": self.max_image_bytes, "video": self.video_limits.max_bytes}
        changes = [judge_present(store, entry, known.get(entry.key), limits) for entry in entries]
        if room is not None:
            totals = accumulate(change.adds for change in changes)
            changes = [change for change, total in zip(changes, totals, strict=True) if total <= room]
        events, processed, full = self.accept(tenant, source, changes)
        changes = changes[:processed]
        events += self.retire(tenant, [change.retired for change in changes if change.retired])
        self.store_objects.save(tenant, store.id, [change.known for change in changes if change.known], run_id)
        accepted = sum(change.adds for change in changes)
        counts = dict(Counter[str](change.kind for change in changes))
        return Observed(len(changes), counts, tuple(events), accepted, full)

    def gone(
        self, tenant: Tenant, store: TenantStore, known: Sequence[KnownObject], run_id: str | None = None
    ) -> tuple[Event, ...]:
        """Process objects that disappeared, by the store's policy."""
        state, events = STATE_OF[store.removal], tuple[Event, ...]()
        if state == "removed":
            # First: an object that comes back before its image is deleted must not be taken for an unchanged one.
            self.store_objects.save(tenant, store.id, [replace(entry, state="removing") for entry in known], run_id)
            events = self.retire(tenant, [entry.image_id for entry in known])
        self.store_objects.save(tenant, store.id, [replace(entry, state=state) for entry in known], run_id)
        return events

    def look(self, tenant: Tenant, store: TenantStore, keys: Collection[str]) -> tuple[Event, ...]:
        """Process keys by what the store holds now, whatever a message said: messages come late and out of order."""
        existing, missing = look_up(self.stores.registered(tenant, store), sorted(set(keys)))
        observed = self.present(tenant, store, existing)
        if observed.full is not None:
            raise observed.full
        known = self.store_objects.find(tenant, store.id, missing)
        lost = [entry for entry in known.values() if entry.state in ("present", "removing")]
        return (*observed.events, *self.gone(tenant, store, lost))


@dataclass(frozen=True, slots=True)
class DecideRemovals:
    """Delete or keep the images and videos of removed objects that wait for a decision."""

    store_objects: StoreObjects
    retire: RetireMedia

    def waiting(self, tenant: Tenant, store: TenantStore) -> list[KnownObject]:
        """The first ones by key."""
        return self.store_objects.in_state(tenant, store.id, "asked", MAX_REMOVALS)

    def delete(self, tenant: Tenant, store: TenantStore, objects: Sequence[KnownObject]) -> tuple[Event, ...]:
        """The events to publish; once they are, the objects are to be marked as ``removed``."""
        self.mark(tenant, store, objects, "removing")
        return tuple(
            with_follow_up_id(event, "delete", known.image_id)
            for known in objects
            for event in self.retire(tenant, [known.image_id])
        )

    def mark(self, tenant: Tenant, store: TenantStore, objects: Sequence[KnownObject], state: ObjectState) -> None:
        self.store_objects.save(tenant, store.id, [replace(known, state=state) for known in objects])


def look_up(source: ObjectStore, keys: Sequence[str]) -> tuple[list[ObjectInfo], list[str]]:
    """The objects that exist, and the keys of those that do not; a malformed key is neither."""
    existing: list[ObjectInfo] = []
    missing: list[str] = []
    for key in keys:
        try:
            existing.append(source.head(key))
        except ObjectNotFound:
            missing.append(key)
        except ValueError:
            continue
    return existing, missing
