"""Asking for work on an image that is known already: its embedding, or all of it once more."""

from datetime import datetime

from deeplens.embedding.model import ModelRef
from deeplens.events.images import ExtractionParams, FeatureExtractionRequested, ImageUploaded, StageTimes
from deeplens.events.maintenance import ImageMaintenance
from deeplens.images.keys import processed_key
from deeplens.images.model import ImageRecord
from deeplens.tenants.model import Tenant

ACTIONS = ("delete_minio_files", "delete_qdrant_vectors", "cleanup_database")


def extraction_request(
    tenant: Tenant,
    image_id: str,
    generation: int | None,
    model: ModelRef,
    at: datetime,
    times: StageTimes | None = None,
) -> FeatureExtractionRequested:
    """The event that has an image's standard JPEG embedded with ``model``."""
    return FeatureExtractionRequested(
        image_id=image_id,
        tenant_id=tenant.id,
        generation=generation,
        preprocessed_path=f"{tenant.storage_uri}/{processed_key(image_id)}",
        extraction_params=ExtractionParams(model=model.name, dimensions=model.dimensions, model_version=model.version),
        requested_at=at,
        times=times,
    )


def image_deletion(tenant_id: str, image_id: str, now: datetime) -> ImageMaintenance:
    """The event that has everything removed of a buried image."""
    return ImageMaintenance(
        maintenance_type="delete", image_id=image_id, tenant_id=tenant_id, actions=list(ACTIONS), requested_at=now
    )


def uploaded_again(tenant: Tenant, row: ImageRecord) -> ImageUploaded:
    """The event that has everything made again that is made from an image's original."""
    return ImageUploaded(
        image_id=row.id,
        tenant_id=tenant.id,
        generation=row.generation,
        file_name=row.file_name,
        storage_path=row.storage_path,
        mime_type=row.mime_type,
        size_bytes=row.size_bytes,
        uploaded_at=row.uploaded_at,
        video_id=row.video_id,
        frame_offset_seconds=row.frame_offset_seconds,
    )
