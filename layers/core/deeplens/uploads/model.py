"""Direct uploads: files that clients write to their tenant's store themselves. Pure decisions and ports."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from deeplens.common.backoff import Backoff
from deeplens.events.bucket import ObjectLocation
from deeplens.images.model import ImageRecord, NewMedia, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.storage.ports import PREFIX, Part
from deeplens.tenants.limits import Storage
from deeplens.tenants.model import Tenant
from deeplens.videos.model import VideoRecord, VideoRepository

KEY = re.compile(rf"{PREFIX}(upl_[a-z0-9]{{1,40}})")
MEBIBYTE = 1 << 20
SINGLE_BYTES = 16 * MEBIBYTE
"""The size up to which a file is sent as one; a larger one is sent in parts."""
PART_BYTES, MAX_PARTS = 8 * MEBIBYTE, 1000
URLS_LAST = timedelta(hours=1)
"""The longest validity of a URL; none outlives the credentials that sign it."""
OPEN_FOR = timedelta(hours=24)
CLAIMED_FOR = timedelta(minutes=3)
"""Longer than ``on_object_created`` may run: a worker whose claim has ended has ended as well."""
RECHECK_INTERVAL = timedelta(hours=1)
"""How often the schedule checks whether the file of an open upload has arrived without a notification."""
CLAIM_RETRY_DELAY = timedelta(minutes=1)
"""When the schedule checks an upload that a worker has claimed, in case the worker stops."""
RETENTION = timedelta(days=30)
"""How long an upload that has ended is kept."""
ATTEMPTS = Backoff(first_seconds=30, factor=4, ceiling_seconds=3600, attempts=8)
"""Attempts to ingest a file after temporary failures of the tenant's store or of a stage."""

type UploadStatus = Literal["open", "ingested", "failed", "aborted", "expired"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an upload failed, or why its last attempt did."""

    code: str
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class DirectUpload:
    """One upload of a tenant.

    Attributes
    ----------
    size_bytes, sha256 : as declared; the file may not be larger, and must have that digest where one was given.
    part_bytes : size of every part but the last; None for a single file.
    multipart_id : the store's id of the parts, once they may be sent.
    due : when the schedule checks it next.
    attempts : how often ingesting it has failed.
    """

    tenant_id: str
    id: str
    file_name: str
    size_bytes: int
    created_at: datetime
    expires_at: datetime
    due: datetime
    sha256: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    part_bytes: int | None = None
    multipart_id: str | None = None
    status: UploadStatus = "open"
    attempts: int = 0
    refusal: Refusal | None = None
    ended_at: datetime | None = None

    @property
    def key(self) -> str:
        return f"{PREFIX}{self.id}"

    @property
    def image_id(self) -> str:
        """The image that it becomes, the same at every notification."""
        return f"img_{self.id.removeprefix('upl_')}"

    @property
    def video_id(self) -> str:
        """The video that it becomes: the file says which of the two it is when it has arrived."""
        return f"vid_{self.id.removeprefix('upl_')}"

    def as_row[M: NewMedia](
        self,
        row_type: type[M],
        media_id: str,
        storage_path: str,
        mime_type: str,
        size_bytes: int,
        sha256: str | None,
        at: datetime,
    ) -> M:
        """The row of the image or video that it becomes, of what was found in the store."""
        given = (media_id, self.file_name, storage_path, mime_type, size_bytes, sha256, at)
        return row_type(*given, tags=self.tags, metadata=self.metadata)


SCHEMES = {"aws:s3": ("s3", "minio"), "deeplens:nfs": ("nfs",)}
"""Schemes of the stores that a source notifies of: a directory and a bucket may have the same name."""


def upload_of(key: str) -> str | None:
    """The upload that an object belongs to; None for every other key."""
    found = KEY.fullmatch(key)
    return found[1] if found else None


def roots_of(location: ObjectLocation) -> list[str]:
    """The stores, as tenants' rows name them, that a notification may be about."""
    return [f"{scheme}://{location.bucket}" for scheme in SCHEMES.get(location.source, ())]


def location_of(tenant: Tenant, upload: DirectUpload) -> ObjectLocation:
    """Where an upload's file arrives, as a notification of its store would name it."""
    scheme, _, bucket = tenant.storage_uri.partition("://")
    source = next((source for source, schemes in SCHEMES.items() if scheme in schemes), "")
    return ObjectLocation(source, bucket, upload.key)


def part_bytes_of(size_bytes: int) -> int | None:
    """The size of the parts that a file is sent in, in whole MiB; None where it is sent as one."""
    if size_bytes <= SINGLE_BYTES:
        return None
    smallest = -(-size_bytes // MAX_PARTS)
    return max(PART_BYTES, -(-smallest // MEBIBYTE) * MEBIBYTE)


def part_sizes(size_bytes: int, part_bytes: int) -> list[int]:
    """Bytes of each part, the first one first."""
    whole, rest = divmod(size_bytes, part_bytes)
    return [part_bytes] * whole + ([rest] if rest else [])


def wrong_parts(size_bytes: int, part_bytes: int, present: Sequence[Part]) -> list[int]:
    """Numbers of parts that are missing, of another size than declared, or too many."""
    declared = dict(enumerate(part_sizes(size_bytes, part_bytes), start=1))
    arrived = {part.number: part.size_bytes for part in present}
    return sorted(number for number in declared.keys() | arrived.keys() if declared.get(number) != arrived.get(number))


def media_of(
    images: ImageRepository, videos: VideoRepository, tenant: Tenant, upload: DirectUpload
) -> ImageRecord | VideoRecord | Tombstone | None:
    """The image or video that an upload has become."""
    return images.find(tenant, [upload.image_id]).get(upload.image_id) or videos.find(tenant, upload.video_id)


class DirectUploads(Protocol):
    """Direct uploads of all tenants (platform database). Raises ``DatabaseUnavailable``."""

    def add(self, upload: DirectUpload) -> DirectUpload:
        """Insert an upload, or return the one that already has this id."""

    def find(self, tenant_id: str, upload_id: str) -> DirectUpload | None: ...

    def keep_multipart(self, tenant_id: str, upload_id: str, multipart_id: str) -> str:
        """Keep the store's id of the parts unless there is one; returns the one that is kept."""

    def claim(self, tenant_id: str, upload_id: str, now: datetime, until: datetime) -> bool:
        """Claim an open upload for one worker. False while another one has it, and once it has ended."""

    def put_off(self, tenant_id: str, upload_id: str, due: datetime, refusal: Refusal | None = None) -> None:
        """End a claim; the schedule checks the upload when ``due``. A refusal counts as an attempt."""

    def end(
        self, tenant_id: str, upload_id: str, status: UploadStatus, now: datetime, refusal: Refusal | None = None
    ) -> None:
        """Set an open upload's last status; one that has ended keeps its own."""

    def expect(self, tenant_id: str, upload_id: str, due: datetime) -> None:
        """Make an open upload due earlier; a later ``due`` changes nothing."""

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[DirectUpload]:
        """Open uploads that are due, oldest first; they get a new due time. One query over all tenants."""

    def reserved(self, tenant_id: str) -> Storage:
        """The storage that the tenant's open uploads will need."""

    def forget(self, ended_before: datetime, limit: int) -> int:
        """Delete uploads that ended before; returns how many."""


class StoreOwners(Protocol):
    def owners(self, roots: Sequence[str]) -> dict[str, str]:
        """Tenant ids by the root of their store, e.g. ``s3://bucket``, in one query; unknown stores are absent."""


class ObjectQueue(Protocol):
    """The queue that buckets notify. Raises ``QueueUnavailable``."""

    def send(self, locations: Sequence[ObjectLocation]) -> None:
        """Notify of objects as a bucket would."""
