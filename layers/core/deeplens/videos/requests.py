"""Maintenance requests about videos."""

from datetime import datetime

from deeplens.events.maintenance import ImageMaintenance


def video_deletion(tenant_id: str, video_id: str, now: datetime) -> ImageMaintenance:
    """The event that has everything of a deleted video removed."""
    return ImageMaintenance(
        maintenance_type="delete", subject="video", video_id=video_id, tenant_id=tenant_id, requested_at=now
    )
