"""Rows as the API shows them."""

from collections.abc import Sequence

from deeplens.http.schemas import ModelVersion
from deeplens.images.model import ImageRecord, Step, TimelineEntry
from deeplens.images.schemas import (
    AcceptedImage,
    ImageDetail,
    ImageError,
    ImageLinks,
    ImageSummary,
    Status,
    ThumbnailLinks,
    TimelineStage,
)
from deeplens.tenants.model import Tenant

STATUS: dict[Step, Status] = {
    Step.ACCEPTED: "accepted",
    Step.PREPROCESSED: "preprocessed",
    Step.EXTRACTED: "extracted",
    Step.INDEXED: "indexed",
    Step.FAILED: "failed",
    Step.COMPLETED: "completed",
}


def path_of(image_id: str) -> str:
    return f"/v1/images/{image_id}"


def thumbnail_path(image_id: str, size: str) -> str:
    return f"{path_of(image_id)}/thumbnails/{size}"


def links(image_id: str) -> ImageLinks:
    return ImageLinks(
        this=path_of(image_id),
        content=f"{path_of(image_id)}/content",
        thumbnails=ThumbnailLinks(small=thumbnail_path(image_id, "small"), medium=thumbnail_path(image_id, "medium")),
        similar=f"{path_of(image_id)}/similar",
    )


def accepted(image: ImageRecord) -> AcceptedImage:
    return AcceptedImage(
        image_id=image.id,
        file_name=image.file_name,
        mime_type=image.mime_type,
        size_bytes=image.size_bytes,
        sha256=image.sha256,
        uploaded_at=image.uploaded_at,
        links=links(image.id),
    )


def summary(image: ImageRecord, tenant: Tenant) -> ImageSummary:
    """An image's row; ``model`` is what it is searched with, which may have changed since it was completed."""
    return ImageSummary(
        image_id=image.id,
        status=STATUS[image.step],
        file_name=image.file_name,
        mime_type=image.mime_type,
        format=image.format,
        width=image.width,
        height=image.height,
        size_bytes=image.size_bytes,
        sha256=image.sha256,
        tags=list(image.tags),
        metadata=image.metadata,
        uploaded_at=image.uploaded_at,
        updated_at=image.updated_at,
        completed_at=image.completed_at,
        processing_seconds=image.processing_seconds,
        model=ModelVersion(name=tenant.model.name, version=tenant.model.version) if image.model else None,
        error=_error(image),
        video_id=image.video_id,
        offset_seconds=image.frame_offset_seconds,
        links=links(image.id),
    )


def detail(image: ImageRecord, tenant: Tenant, timeline: Sequence[TimelineEntry]) -> ImageDetail:
    return ImageDetail(**dict(summary(image, tenant)), timeline=[stage(entry) for entry in timeline])


def _error(image: ImageRecord) -> ImageError | None:
    if image.step is not Step.FAILED:
        return None
    return ImageError(
        code=image.error_code or "PROCESSING_FAILED",
        message=image.error_message or "processing failed",
        retryable=bool(image.error_retryable),
        attempt=image.attempt,
    )


def stage(entry: TimelineEntry) -> TimelineStage:
    return TimelineStage(
        stage=entry.stage,
        status=STATUS[entry.step],
        generation=entry.generation,
        occurred_at=entry.occurred_at,
        duration_seconds=entry.duration_seconds,
        error_code=entry.error_code,
        error_message=entry.error_message,
    )
