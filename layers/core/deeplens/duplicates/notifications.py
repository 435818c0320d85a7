"""Notifications about duplicates."""

from deeplens.common.ids import event_id
from deeplens.events.duplicates import DuplicateMatch, DuplicatesFound
from deeplens.events.notifications import DUPLICATES_FOUND, TenantNotification
from deeplens.tenants.model import Tenant


def duplicates_found(
    tenant: Tenant, event: DuplicatesFound, match: DuplicateMatch, group_id: str
) -> tuple[TenantNotification, ...]:
    """The notification about a pair, with the same id whichever record leads to it."""
    if DUPLICATES_FOUND not in tenant.notified:
        return ()
    details = {
        "duplicateId": group_id,
        "pairId": match.pair_id,
        "imageIds": [match.image_id, event.image_id],
        "verdict": match.verdict,
        "score": match.score,
    }
    notification = TenantNotification(
        event_id=event_id(DUPLICATES_FOUND, tenant.id, match.pair_id),
        tenant_id=tenant.id,
        type=DUPLICATES_FOUND,
        occurred_at=event.found_at,
        image_id=event.image_id,
        details=details,
    )
    return (notification,)
