"""Events that follow from merges: the kept image is indexed again, the others are deleted once the merge is settled."""

from collections.abc import Collection, Sequence
from datetime import datetime

from deeplens.common.event import Event
from deeplens.duplicates.model import Merge
from deeplens.events.images import FeatureExtractionRequested
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.model import ImageRecord
from deeplens.images.ports import ImageRepository
from deeplens.images.requests import extraction_request
from deeplens.tenants.model import Tenant


def follow_ups(images: ImageRepository, tenant: Tenant, merges: Sequence[Merge], now: datetime) -> list[Event]:
    """Events of merges, whether they were made now or before."""
    # A merge by policy that changed nothing of the kept image needs no indexing.
    kept = [merge.kept_id for merge in merges if merge.before or merge.pair_id is None]
    settling = [settlement_of(tenant.id, merge.id, now) for merge in merges if merge.undo_until <= now]
    return [*indexed_again(images, tenant, kept, now), *settling]


def indexed_again(
    images: ImageRepository, tenant: Tenant, image_ids: Collection[str], now: datetime
) -> list[FeatureExtractionRequested]:
    """The events that write the points of live images again, with the tags and metadata of their rows."""
    found = images.find(tenant, sorted(image_ids)).values() if image_ids else ()
    return [
        extraction_request(tenant, row.id, row.generation, model, now)
        for row in found
        if isinstance(row, ImageRecord)
        for model in tenant.models
    ]


def settlement_of(tenant_id: str, merge_id: str, now: datetime) -> ImageMaintenance:
    """The event that ends the time in which a merge can be undone."""
    return ImageMaintenance(
        maintenance_type="merge", tenant_id=tenant_id, subject="tenant", job=merge_id, requested_at=now
    )
