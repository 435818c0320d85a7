"""Notifications for tenants that subscribe to them: of images, and what those of other features have in common."""

from datetime import datetime
from typing import Any

from deeplens.common.ids import event_id
from deeplens.events.failures import Failure
from deeplens.events.images import ProcessingCompleted
from deeplens.events.notifications import IMAGE_COMPLETED, IMAGE_FAILED, TenantNotification
from deeplens.images.model import about_media
from deeplens.tenants.model import Tenant


def image_completed(tenant: Tenant, event: ProcessingCompleted) -> tuple[TenantNotification, ...]:
    details = {"processingTime": event.processing_time, "model": event.model, "modelVersion": event.model_version}
    present = {name: value for name, value in details.items() if value is not None}
    ids = (event.image_id, event.effective_generation)
    return notification(tenant, IMAGE_COMPLETED, ids, event.completed_at, event.image_id, present)


def image_failed(
    tenant: Tenant, image_id: str, generation: int, error: Failure, at: datetime
) -> tuple[TenantNotification, ...]:
    details = {"error": {"code": error.code, "message": error.message, "retryable": error.retryable}}
    return notification(tenant, IMAGE_FAILED, (image_id, generation), at, image_id, details)


def notification(
    tenant: Tenant, kind: str, ids: tuple[object, ...], at: datetime, media_id: str, details: dict[str, Any]
) -> tuple[TenantNotification, ...]:
    """The notification about an image or a video, if the tenant subscribes to its kind.

    Parameters
    ----------
    ids : what happened to what; a repeat has the same event id.
    """
    if kind not in tenant.notified:
        return ()
    about = about_media(media_id)
    stable_id = event_id(kind, tenant.id, *ids)
    return (
        TenantNotification(
            event_id=stable_id, tenant_id=tenant.id, type=kind, occurred_at=at, details=details, **about
        ),
    )
