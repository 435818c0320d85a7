"""Objects of a store that a tenant registered → images and videos accepted, replaced and deleted."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.errors import ObjectNotFound, QuotaExceeded, StorageFull
from deeplens.formats.videos import type_by_name
from deeplens.images.model import ImageRecord, NewImage, Step, Tombstone
from deeplens.images.ports import ImageRepository, PendingDue, PendingImages
from deeplens.images.requests import image_uploaded
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
from deeplens.stores.retire import RetireMedia
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import Tenant
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.model import NewVideo, VideoRepository, is_video

ADMITTED = {"file_name", "storage_path", "mime_type", "size_bytes", "uploaded_at"}
"""Fields of an image that another admission of the same id may have set first."""
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
    pending: PendingImages
    pending_due: PendingDue
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
        known = [change.known for change in changes if change.known and change.adds]
        rows = self.images.find(tenant, [one.image_id for one in known if not is_video(one.image_id)])
        events = list[Event]()
        for position, change in enumerate(changes):
            if not change.known or not change.adds:
                continue
            media_id = change.known.image_id
            try:
                if is_video(media_id):
                    events += self._video(tenant, source, change.entry, media_id)
                else:
                    events += self._image(tenant, source, change.entry, media_id, rows.get(media_id))
            except QuotaExceeded as error:
                return events, position, StorageFull(f"your tenant's quota has no room for more: {error}")
        return events, len(changes), None

    def _image(
        self,
        tenant: Tenant,
        source: ObjectStore,
        entry: ObjectInfo,
        image_id: str,
        row: ImageRecord | Tombstone | None,
    ) -> list[Event]:
        if isinstance(row, Tombstone) or (row is not None and row.step is not Step.ACCEPTED):
            return []
        now = self.clock.now()
        image = NewImage(
            id=image_id,
            file_name=file_name_in(entry.key),
            storage_path=source.uri(entry.key),
            mime_type=image_type(entry.key) or "",
            size_bytes=entry.size_bytes,
            # The object has not been read yet; the first stage reads it.
            sha256="",
            uploaded_at=now,
        )
        due = now + self.pending_due
        admission = self.pending.admit(image_uploaded(tenant.id, image, {"etag": entry.etag}), due)
        first = admission.event.model_dump(include=ADMITTED)
        try:
            self.images.insert(tenant, replace(image, **first), tenant.effective_limits(self.default_limits))
        except QuotaExceeded:
            self.pending.finish([(tenant.id, image_id)], due)
            raise
        return [admission.event] if admission.released else []

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


class ObserveObjects:
    """Make the tenant's images what its store holds. Any observation may be repeated, late, or made twice at once.

    The known objects are saved last, so that a repeat after a crash does what is missing.
    """

    def __init__(
        self,
        stores: TenantStores,
        store_objects: StoreObjects,
        accept: AcceptObjects,
        retire: RetireMedia,
        max_image_bytes: MaxImageBytes,
        video_limits: VideoLimits,
    ) -> None:
        self._stores, self._objects, self._accept, self._retire = stores, store_objects, accept, retire
        self._max_bytes: dict[Media, int] = {"image": max_image_bytes, "video": video_limits.max_bytes}

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
        source = self._stores.registered(tenant, store)
        known = self._objects.find(tenant, store.id, [entry.key for entry in entries])
        changes = [judge_present(store, entry, known.get(entry.key), self._max_bytes) for entry in entries]
        changes = _within(changes, room)
        events, processed, full = self._accept(tenant, source, changes)
        changes = changes[:processed]
        events += self._retire(tenant, [change.retired for change in changes if change.retired])
        self._objects.save(tenant, store.id, [change.known for change in changes if change.known], run_id)
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
            self._objects.save(tenant, store.id, [replace(one, state="removing") for one in known], run_id)
            events = self._retire(tenant, [one.image_id for one in known])
        self._objects.save(tenant, store.id, [replace(one, state=state) for one in known], run_id)
        return events

    def look(self, tenant: Tenant, store: TenantStore, keys: Collection[str]) -> tuple[Event, ...]:
        """Process keys by what the store holds now, whatever a message said: messages come late and out of order."""
        existing, missing = look_up(self._stores.registered(tenant, store), sorted(set(keys)))
        observed = self.present(tenant, store, existing)
        if observed.full is not None:
            raise observed.full
        known = self._objects.find(tenant, store.id, missing)
        lost = [one for one in known.values() if one.state in ("present", "removing")]
        return (*observed.events, *self.gone(tenant, store, lost))


def _within(changes: Sequence[ObjectChange], room: int | None) -> list[ObjectChange]:
    """The first changes, up to the one that would be an image too many."""
    accepted = 0
    for position, change in enumerate(changes):
        accepted += change.adds
        if room is not None and accepted > max(0, room):
            return list(changes[:position])
    return list(changes)


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
