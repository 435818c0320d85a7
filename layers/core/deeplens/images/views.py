"""Images and their events as HTTP bodies."""

from collections.abc import Sequence
from typing import Any, cast

from deeplens.http.schemas import ModelVersion, view
from deeplens.images.model import ImageRecord, LoggedEvent, MediaRecord, Step, TimelineEntry
from deeplens.images.schemas import (
    AcceptedImage,
    ImageDetail,
    ImageError,
    ImageEventView,
    ImageLinks,
    ImageSummary,
    Status,
    ThumbnailLinks,
    TimelineStage,
)
from deeplens.tenants.model import Tenant

STATUS: dict[Step, Status] = {step: cast("Status", step.name.lower()) for step in Step}


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
    return view(AcceptedImage, image, image_id=image.id, links=links(image.id))


def summary(image: ImageRecord, tenant: Tenant) -> ImageSummary:
    return _summary(ImageSummary, image, tenant)


def detail(image: ImageRecord, tenant: Tenant, timeline: Sequence[TimelineEntry]) -> ImageDetail:
    return _summary(ImageDetail, image, tenant, timeline=[stage(entry) for entry in timeline])


def _summary[M: ImageSummary](schema: type[M], image: ImageRecord, tenant: Tenant, **fields: Any) -> M:
    """An image's row; ``model`` is what it is searched with, which may have changed since it was completed."""
    return view(
        schema,
        image,
        image_id=image.id,
        status=STATUS[image.step],
        tags=list(image.tags),
        model=ModelVersion(name=tenant.model.name, version=tenant.model.version) if image.model else None,
        error=error_of(image) if image.step is Step.FAILED else None,
        offset_seconds=image.frame_offset_seconds,
        links=links(image.id),
        **fields,
    )


def error_of(media: MediaRecord) -> ImageError:
    """Why an image or a video failed."""
    return ImageError(
        code=media.error_code or "PROCESSING_FAILED",
        message=media.error_message or "processing failed",
        retryable=bool(media.error_retryable),
        attempt=media.attempt if isinstance(media, ImageRecord) else 1,
    )


def stage(entry: TimelineEntry) -> TimelineStage:
    return view(TimelineStage, entry, status=STATUS[entry.step])


def logged(event: LoggedEvent) -> ImageEventView:
    return view(ImageEventView, event, event_id=str(event.id), status=STATUS[event.step])
