"""Notifications about images."""

from datetime import datetime

from deeplens.common.ids import event_id
from deeplens.events.failures import Failure
from deeplens.events.images import ProcessingCompleted
from deeplens.events.notifications import IMAGE_COMPLETED, IMAGE_FAILED, TenantNotification
from deeplens.tenants.model import Tenant


def image_completed(tenant: Tenant, event: ProcessingCompleted) -> tuple[TenantNotification, ...]:
    if IMAGE_COMPLETED not in tenant.notified:
        return ()
    details = {"processingTime": event.processing_time, "model": event.model, "modelVersion": event.model_version}
    told = TenantNotification(
        event_id=event_id(IMAGE_COMPLETED, tenant.id, event.image_id, event.effective_generation),
        tenant_id=tenant.id,
        type=IMAGE_COMPLETED,
        occurred_at=event.completed_at,
        image_id=event.image_id,
        details={name: value for name, value in details.items() if value is not None},
    )
    return (told,)


def image_failed(
    tenant: Tenant, image_id: str, generation: int, error: Failure, at: datetime
) -> tuple[TenantNotification, ...]:
    if IMAGE_FAILED not in tenant.notified:
        return ()
    details = {"error": {"code": error.code, "message": error.message, "retryable": error.retryable}}
    told = TenantNotification(
        event_id=event_id(IMAGE_FAILED, tenant.id, image_id, generation),
        tenant_id=tenant.id,
        type=IMAGE_FAILED,
        occurred_at=at,
        image_id=image_id,
        details=details,
    )
    return (told,)
