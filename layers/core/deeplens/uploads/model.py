"""Files that clients write to their tenant's store by themselves: what is remembered of them, and pure decisions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from deeplens.common.backoff import Backoff
from deeplens.events.bucket import Place
from deeplens.storage.ports import PREFIX, Part
from deeplens.tenants.limits import Storage

KEY = re.compile(rf"{PREFIX}(upl_[a-z0-9]{{1,40}})")
MEBIBYTE = 1 << 20
SINGLE_BYTES = 16 * MEBIBYTE
"""A larger file is sent in parts."""
PART_BYTES, MOST_PARTS = 8 * MEBIBYTE, 1000
URLS_LAST = timedelta(hours=1)
"""At most: no URL outlives the credentials that sign it."""
OPEN_FOR = timedelta(hours=24)
CLAIMED_FOR = timedelta(minutes=3)
"""Longer than ``on_object_created`` may run: who lost its claim is no longer at work."""
LOOKED_AFTER = timedelta(hours=1)
"""So often the schedule looks whether the file of an open upload came without a word from its bucket."""
SOON = timedelta(minutes=1)
"""When the schedule looks after what is about to be taken in, should that stop."""
KEPT = timedelta(days=30)
ATTEMPTS = Backoff(first_seconds=30, factor=4, ceiling_seconds=3600, attempts=8)
"""Of a file that the tenant's store, or a stage, refuses for the time being."""

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
    multipart_id : the store's name for the parts, once they may be sent.
    due : when the schedule looks after it, unless something else has.
    attempts : how often it failed for the time being.
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
        return upload_key(self.id)

    @property
    def image_id(self) -> str:
        """The image that it becomes: the same however often its notification comes."""
        return f"img_{self.id.removeprefix('upl_')}"

    @property
    def video_id(self) -> str:
        """The same of a video: what it is, the file says when it has arrived."""
        return f"vid_{self.id.removeprefix('upl_')}"


SCHEMES = {"aws:s3": ("s3", "minio"), "deeplens:nfs": ("nfs",)}
"""Which stores a source speaks for: a directory of the same name as somebody's bucket is another store."""


def upload_key(upload_id: str) -> str:
    return f"{PREFIX}{upload_id}"


def upload_of(key: str) -> str | None:
    """The upload that an object belongs to; None for every other key."""
    found = KEY.fullmatch(key)
    return found[1] if found else None


def roots_of(place: Place) -> list[str]:
    """The stores, as tenants' rows name them, that a notification may be about."""
    return [f"{scheme}://{place.bucket}" for scheme in SCHEMES.get(place.source, ())]


def source_of(storage_uri: str) -> str:
    """Who notifies of a store's objects."""
    scheme = storage_uri.partition("://")[0]
    return next((source for source, schemes in SCHEMES.items() if scheme in schemes), "")


def part_bytes_of(size_bytes: int) -> int | None:
    """The size of the parts that a file is sent in, in whole MiB; None where it is sent as one."""
    if size_bytes <= SINGLE_BYTES:
        return None
    least = -(-size_bytes // MOST_PARTS)
    return max(PART_BYTES, -(-least // MEBIBYTE) * MEBIBYTE)


def part_sizes(size_bytes: int, part_bytes: int) -> list[int]:
    """Bytes of each part, the first one first."""
    whole, rest = divmod(size_bytes, part_bytes)
    return [part_bytes] * whole + ([rest] if rest else [])


def wrong_parts(size_bytes: int, part_bytes: int, present: Sequence[Part]) -> list[int]:
    """Numbers of parts that are missing, of another size than declared, or too many."""
    wanted = dict(enumerate(part_sizes(size_bytes, part_bytes), start=1))
    given = {part.number: part.size_bytes for part in present}
    return sorted(number for number in wanted.keys() | given.keys() if wanted.get(number) != given.get(number))


class DirectUploads(Protocol):
    """Uploads of all tenants (platform database). Raises ``DatabaseUnavailable``."""

    def add(self, upload: DirectUpload) -> DirectUpload:
        """Remember a new upload, or return what already has this id."""

    def find(self, tenant_id: str, upload_id: str) -> DirectUpload | None: ...

    def keep_multipart(self, tenant_id: str, upload_id: str, multipart_id: str) -> str:
        """Note the store's name for the parts unless there is one; returns the one that counts."""

    def claim(self, tenant_id: str, upload_id: str, now: datetime, until: datetime) -> bool:
        """Take an open upload for oneself. False while somebody else has it, and once it has ended."""

    def put_off(self, tenant_id: str, upload_id: str, due: datetime, refusal: Refusal | None = None) -> None:
        """Give a claim back, to be looked after when ``due``; a refusal counts as an attempt."""

    def end(
        self, tenant_id: str, upload_id: str, status: UploadStatus, now: datetime, refusal: Refusal | None = None
    ) -> None:
        """An open upload's last status; one that has ended keeps its own."""

    def expect(self, tenant_id: str, upload_id: str, due: datetime) -> None:
        """Have an open upload looked after when ``due``, if that is earlier than before."""

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[DirectUpload]:
        """Open uploads whose time is up, oldest first; they get a new due time. One query over all tenants."""

    def reserved(self, tenant_id: str) -> Storage:
        """What the tenant's open uploads will take when they arrive."""

    def forget(self, ended_before: datetime, limit: int) -> int:
        """Drop uploads that ended so long ago; returns how many."""


class StoreOwners(Protocol):
    def owners(self, roots: Sequence[str]) -> dict[str, str]:
        """Tenants' ids by the root of a store, e.g. ``s3://bucket``, in one query; unknown stores are absent."""


class ObjectQueue(Protocol):
    """The queue that buckets notify. Raises ``QueueUnavailable``."""

    def send(self, places: Sequence[Place]) -> None:
        """Notify of objects as a bucket would."""
