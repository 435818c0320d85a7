"""every minute → uploads whose time is up → the object queue again, or their end"""

from datetime import datetime
from typing import ClassVar

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.errors import DependencyUnavailable, ObjectNotFound, PipelineError
from deeplens.events.bucket import Place
from deeplens.storage.ports import StoreResolver
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.uploads.model import CLAIMED_FOR, KEPT, LOOKED_AFTER, DirectUpload, DirectUploads, ObjectQueue, source_of


class TickUploads:
    """Look after open uploads: one query over all tenants.

    A file that is there is notified of again: its notification was lost, or it has another attempt. What never came
    expires, with the parts that did. Forgets uploads that ended a month ago.
    """

    name: ClassVar = "uploads"
    batch_size: ClassVar = 200
    forgotten_at_once: ClassVar = 5000

    def __init__(
        self,
        uploads: DirectUploads,
        tenants: TenantDirectory,
        stores: StoreResolver,
        object_queue: ObjectQueue,
        clock: Clock,
    ) -> None:
        self._uploads, self._tenants, self._stores = uploads, tenants, stores
        self._object_queue, self._clock = object_queue, clock

    def __call__(self) -> list[Event]:
        now = self._clock.now()
        self._uploads.forget(now - KEPT, self.forgotten_at_once)
        late = self._uploads.overdue(now, now + LOOKED_AFTER, self.batch_size)
        arrived = [place for upload in late if (place := self._looked_after(upload, now))]
        if arrived:
            self._object_queue.send(arrived)
        return []

    def _looked_after(self, upload: DirectUpload, now: datetime) -> Place | None:
        """Where the file is, if it came. A store that is away leaves its upload to a later run."""
        try:
            tenant = self._tenants.get(upload.tenant_id)
            self._stores.for_tenant(tenant).head(upload.key)
        except ObjectNotFound:
            self._expire(tenant, upload, now)
            return None
        except (PipelineError, DependencyUnavailable):
            return None
        bucket = tenant.storage_uri.partition("://")[2]
        return Place(source_of(tenant.storage_uri), bucket, upload.key)

    def _expire(self, tenant: Tenant, upload: DirectUpload, now: datetime) -> None:
        if upload.expires_at > now or not self._uploads.claim(tenant.id, upload.id, now, now + CLAIMED_FOR):
            return
        store = self._stores.for_tenant(tenant)
        if upload.multipart_id:
            store.uploads().abort(upload.key, upload.multipart_id)
        self._uploads.end(tenant.id, upload.id, "expired", now)
