"""every minute → open uploads that are due → the object queue again, or their end"""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.errors import DependencyUnavailable, PipelineError
from deeplens.events.bucket import ObjectLocation
from deeplens.storage.ports import StoreResolver, exists
from deeplens.tenants.ports import TenantDirectory
from deeplens.uploads.model import (
    CLAIMED_FOR,
    RECHECK_INTERVAL,
    RETENTION,
    DirectUpload,
    DirectUploads,
    ObjectQueue,
    location_of,
)


@dataclass(frozen=True, slots=True)
class TickUploads:
    """Check open uploads that are due, with one query over all tenants.

    A file that has arrived is notified of again: its notification was lost, or it has another attempt. An upload
    whose file has not arrived in time expires, with its parts. Uploads that ended a month ago are deleted.
    """

    name: ClassVar = "uploads"
    batch_size: ClassVar = 200
    deleted_at_once: ClassVar = 5000

    uploads: DirectUploads
    tenants: TenantDirectory
    stores: StoreResolver
    object_queue: ObjectQueue
    clock: Clock

    def __call__(self) -> list[Event]:
        now = self.clock.now()
        self.uploads.forget(now - RETENTION, self.deleted_at_once)
        due = self.uploads.overdue(now, now + RECHECK_INTERVAL, self.batch_size)
        arrived = [location for upload in due if (location := self._arrived(upload, now))]
        if arrived:
            self.object_queue.send(arrived)
        return []

    def _arrived(self, upload: DirectUpload, now: datetime) -> ObjectLocation | None:
        """Where the file is, if it has arrived; if not, and its time is up, the upload expires.

        An upload whose store is unavailable is left to a later run.
        """
        try:
            tenant = self.tenants.get(upload.tenant_id)
            store = self.stores.for_tenant(tenant)
            if exists(store, upload.key):
                return location_of(tenant, upload)
        except (PipelineError, DependencyUnavailable):
            return None
        expired = upload.expires_at <= now
        if expired and self.uploads.claim(tenant.id, upload.id, now, now + CLAIMED_FOR):
            if upload.multipart_id:
                store.uploads().abort(upload.key, upload.multipart_id)
            self.uploads.end(tenant.id, upload.id, "expired", now)
        return None
