"""Notifications about images, for tenants that subscribe to them."""

from datetime import datetime
from typing import Any

from deeplens.common.ids import event_id
from deeplens.events.failures import Failure
from deeplens.events.images import ProcessingCompleted
from deeplens.events.notifications import IMAGE_COMPLETED, IMAGE_FAILED, TenantNotification
from deeplens.tenants.model import Tenant


def image_completed(tenant: Tenant, event: ProcessingCompleted) -> tuple[TenantNotification, ...]:
    details = {"processingTime": event.processing_time, "model": event.model, "modelVersion": event.model_version}
    present = {name: value for name, value in details.items() if value is not None}
    return _notifications(
        tenant, IMAGE_COMPLETED, event.image_id, event.effective_generation, event.completed_at, present
    )


def image_failed(
    tenant: Tenant, image_id: str, generation: int, error: Failure, at: datetime
) -> tuple[TenantNotification, ...]:
    details = {"error": {"code": error.code, "message": error.message, "retryable": error.retryable}}
    return _notifications(tenant, IMAGE_FAILED, image_id, generation, at, details)


def _notifications(
    tenant: Tenant, kind: str, image_id: str, generation: int, at: datetime, details: dict[str, Any]
) -> tuple[TenantNotification, ...]:
    if kind not in tenant.notified:
        return ()
    notification = TenantNotification(
        event_id=event_id(kind, tenant.id, image_id, generation),
        tenant_id=tenant.id,
        type=kind,
        occurred_at=at,
        image_id=image_id,
        details=details,
    )
    return (notification,)
