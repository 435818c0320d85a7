"""What tenants' webhooks are told, where one wants to know."""

from datetime import datetime

from deeplens.contracts.events import DuplicateMatch, DuplicatesFound, Failure, ProcessingCompleted, TenantNotification
from deeplens.domain import Tenant

IMAGE_COMPLETED, IMAGE_FAILED, DUPLICATES_FOUND = "image.completed", "image.failed", "duplicates.found"


def image_completed(tenant: Tenant, event: ProcessingCompleted) -> tuple[TenantNotification, ...]:
    if IMAGE_COMPLETED not in tenant.notified:
        return ()
    details = {"processingTime": event.processing_time, "model": event.model, "modelVersion": event.model_version}
    told = TenantNotification(
        tenant_id=tenant.id,
        type=IMAGE_COMPLETED,
        occurred_at=event.completed_at,
        image_id=event.image_id,
        details={name: value for name, value in details.items() if value is not None},
    )
    return (told,)


def image_failed(tenant: Tenant, image_id: str, error: Failure, at: datetime) -> tuple[TenantNotification, ...]:
    if IMAGE_FAILED not in tenant.notified:
        return ()
    details = {"error": {"code": error.code, "message": error.message, "retryable": error.retryable}}
    return (
        TenantNotification(tenant_id=tenant.id, type=IMAGE_FAILED, occurred_at=at, image_id=image_id, details=details),
    )


def duplicates_found(
    tenant: Tenant, event: DuplicatesFound, match: DuplicateMatch, group_id: str
) -> tuple[TenantNotification, ...]:
    """Once per pair, whichever record leads to it."""
    if DUPLICATES_FOUND not in tenant.notified:
        return ()
    details = {
        "duplicateId": group_id,
        "pairId": match.pair_id,
        "imageIds": [match.image_id, event.image_id],
        "verdict": match.verdict,
        "score": match.score,
    }
    told = TenantNotification(
        tenant_id=tenant.id,
        type=DUPLICATES_FOUND,
        occurred_at=event.found_at,
        image_id=event.image_id,
        details=details,
        once=f"{tenant.id}/{match.pair_id}",
    )
    return (told,)
