"""Objects of a tenant's own store → images and videos accepted, replaced and deleted."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.errors import ObjectNotFound, QuotaExceeded, StorageFull
from deeplens.events.images import ImageUploaded
from deeplens.formats.videos import type_by_name
from deeplens.images.model import ImageRecord, NewImage, Step, Tombstone
from deeplens.images.ports import ImageRepository, PendingDue, PendingImages
from deeplens.images.requests import image_deletion
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
    image_type,
    judge_present,
)
from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import Tenant
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.model import NewVideo, PendingVideos, PendingVideosDue, VideoRepository, VideoTombstone, is_video
from deeplens.videos.requests import video_deletion

STATE_OF: dict[str, ObjectState] = {"delete": "removed", "keep": "kept", "ask": "asked"}


@dataclass(frozen=True, slots=True)
class Observed:
    """What was done about some objects.

    Attributes
    ----------
    seen : how many of those given were worked, in order; the rest found no room.
    counts : by kind of change.
    accepted : images that have not been accepted before.
    full : why those behind them cannot be worked now.
    """

    seen: int
    counts: dict[str, int] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    accepted: int = 0
    full: StorageFull | None = None


class ObserveObjects:
    """Make the tenant's images what its store holds. Any observation may come twice, late, or from two places at once.

    An image is accepted as an upload is: remembered as pending, then its row, then its event. What is known of the
    object is kept last, so that a crash in between repeats what is missing.
    """

    def __init__(
        self,
        stores: TenantStores,
        images: ImageRepository,
        pending: PendingImages,
        store_objects: StoreObjects,
        pending_due: PendingDue,
        default_limits: ResourceLimits,
        max_image_bytes: MaxImageBytes,
        videos: VideoRepository,
        pending_videos: PendingVideos,
        pending_videos_due: PendingVideosDue,
        video_limits: VideoLimits,
        clock: Clock,
    ) -> None:
        self._stores, self._images, self._pending, self._objects = stores, images, pending, store_objects
        self._pending_due, self._defaults, self._clock = pending_due, default_limits, clock
        self._max_bytes: dict[Media, int] = {"image": max_image_bytes, "video": video_limits.max_bytes}
        self._videos = videos
        self._take_video = AcceptVideo(videos, pending_videos, pending_videos_due, clock)

    def present(
        self,
        tenant: Tenant,
        store: TenantStore,
        entries: Sequence[ObjectInfo],
        run_id: str | None = None,
        room: int | None = None,
    ) -> Observed:
        """Take note of objects that stand.

        Parameters
        ----------
        room : images to accept at the most; objects behind the first one too many are not worked.
        """
        source = self._stores.registered(tenant, store)
        known = self._objects.find(tenant, store.id, [entry.key for entry in entries])
        changes = [judge_present(store, entry, known.get(entry.key), self._max_bytes) for entry in entries]
        worked = _within(changes, room)
        events, worked, full = self._accepted(tenant, source, worked)
        events += self.retire(tenant, [one.retired for one in worked if one.retired])
        self._objects.save(tenant, store.id, [one.known for one in worked if one.known], run_id)
        counts: dict[str, int] = {}
        for one in worked:
            counts[one.kind] = counts.get(one.kind, 0) + 1
        return Observed(len(worked), counts, tuple(events), counts.get("new", 0) + counts.get("changed", 0), full)

    def _accepted(
        self, tenant: Tenant, source: ObjectStore, changes: list[ObjectChange]
    ) -> tuple[list[Event], list[ObjectChange], StorageFull | None]:
        """Accept what is new, up to the first one that finds no room; what was worked, and why not the rest."""
        wanted = [one.known.image_id for one in changes if one.known and one.adds and not is_video(one.known.image_id)]
        rows, events = self._images.find(tenant, wanted), list[Event]()
        for position, change in enumerate(changes):
            try:
                if change.known and change.adds:
                    video = is_video(change.known.image_id)
                    events += (
                        self._accept_video(tenant, source, change.entry, change.known.image_id)
                        if video
                        else self._accept(tenant, source, change, rows)
                    )
            except StorageFull as error:
                return events, changes[:position], error
        return events, changes, None

    def gone(
        self, tenant: Tenant, store: TenantStore, known: Sequence[KnownObject], run_id: str | None = None
    ) -> tuple[Event, ...]:
        """Take note of objects that stand no more, as the store's policy has it."""
        state = STATE_OF[store.removal]
        if state == "removed":
            # First, so that an object that comes back before the image is deleted does not pass for unchanged.
            self._objects.save(tenant, store.id, [replace(one, state="removing") for one in known], run_id)
        events = self.retire(tenant, [one.image_id for one in known]) if state == "removed" else ()
        self._objects.save(tenant, store.id, [replace(one, state=state) for one in known], run_id)
        return events

    def look(self, tenant: Tenant, store: TenantStore, keys: Collection[str]) -> tuple[Event, ...]:
        """Take note of keys as they are now, whatever was said of them: messages come late and out of order."""
        source = self._stores.registered(tenant, store)
        standing, missing = asked(source, sorted(set(keys)))
        there = self.present(tenant, store, standing)
        if there.full is not None:
            raise there.full
        known = self._objects.find(tenant, store.id, missing)
        lost = [one for one in known.values() if one.state in ("present", "removing")]
        return (*there.events, *self.gone(tenant, store, lost))

    def retire(self, tenant: Tenant, image_ids: Sequence[str]) -> tuple[Event, ...]:
        """Bury images and videos; a lost event of an image is made good by the next sweep, which knows tombstones
        without a receipt.
        """
        now = self._clock.now()
        events = list[Event]()
        for one in image_ids:
            if is_video(one):
                events += [video_deletion(tenant.id, one, now)] if self._videos.bury(tenant, one, now) else []
            else:
                events += [image_deletion(tenant.id, one, now)] if self._images.bury(tenant, one, now) else []
        return tuple(events)

    def _accept_video(self, tenant: Tenant, source: ObjectStore, entry: ObjectInfo, video_id: str) -> list[Event]:
        row, kind = self._videos.find(tenant, video_id), type_by_name(entry.key.rpartition("/")[2])
        if kind is None or isinstance(row, VideoTombstone) or (row is not None and row.status != "accepted"):
            return []
        video = NewVideo(
            id=video_id,
            file_name=entry.key.rpartition("/")[2],
            storage_path=source.uri(entry.key),
            mime_type=kind.mime_type,
            size_bytes=entry.size_bytes,
            uploaded_at=self._clock.now(),
        )
        try:
            _, event = self._take_video(tenant, video, tenant.limits.over(self._defaults), etag=entry.etag)
        except QuotaExceeded as error:
            raise StorageFull(f"your tenant's quota has no room for more: {error}") from error
        return [event] if event else []

    def _accept(
        self, tenant: Tenant, source: ObjectStore, change: ObjectChange, rows: dict[str, ImageRecord | Tombstone]
    ) -> list[ImageUploaded]:
        assert change.known is not None
        row = rows.get(change.known.image_id)
        if isinstance(row, Tombstone) or (row is not None and row.step is not Step.ACCEPTED):
            return []
        now = self._clock.now()
        admission = self._pending.admit(_event(tenant, source, change, now), now + self._pending_due)
        event = admission.event
        try:
            self._images.insert(tenant, _new_image(event), tenant.limits.over(self._defaults))
        except QuotaExceeded as error:
            self._pending.finish([(tenant.id, event.image_id)], now + self._pending_due)
            raise StorageFull(f"your tenant's quota has no room for more: {error}") from error
        return [event] if admission.released else []


def _within(changes: Sequence[ObjectChange], room: int | None) -> list[ObjectChange]:
    """The first of them, up to the one that would be an image too many."""
    left, worked = room, []
    for change in changes:
        if change.adds and left is not None:
            if left <= 0:
                break
            left -= 1
        worked.append(change)
    return worked


def asked(source: ObjectStore, keys: Sequence[str]) -> tuple[list[ObjectInfo], list[str]]:
    """The keys that stand, and those that do not; what could be no key of ours is neither."""
    standing: list[ObjectInfo] = []
    missing: list[str] = []
    for key in keys:
        try:
            standing.append(source.head(key))
        except ObjectNotFound:
            missing.append(key)
        except ValueError:
            continue
    return standing, missing


def _event(tenant: Tenant, source: ObjectStore, change: ObjectChange, now: object) -> ImageUploaded:
    entry, known = change.entry, change.known
    assert known is not None
    return ImageUploaded.model_validate(
        {
            "image_id": known.image_id,
            "tenant_id": tenant.id,
            "file_name": entry.key.rpartition("/")[2],
            "storage_path": source.uri(entry.key),
            "mime_type": image_type(entry.key),
            "size_bytes": entry.size_bytes,
            "uploaded_at": now,
            "metadata": {"etag": entry.etag},
        }
    )


def _new_image(event: ImageUploaded) -> NewImage:
    return NewImage(
        id=event.image_id,
        file_name=event.file_name,
        storage_path=event.storage_path,
        mime_type=event.mime_type,
        size_bytes=event.size_bytes,
        # Nobody has read the object yet; the first stage does.
        sha256="",
        uploaded_at=event.uploaded_at,
    )
