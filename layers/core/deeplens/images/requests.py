"""Events that request work on a known image, or the deletion of an image or a video; admission to the pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deeplens.common.ports import Clock
from deeplens.embedding.model import ModelRef
from deeplens.events.ids import with_upload_id
from deeplens.events.images import ExtractionParams, FeatureExtractionRequested, ImageUploaded, StageTimes
from deeplens.events.maintenance import ImageMaintenance
from deeplens.http.schemas import view
from deeplens.images.keys import processed_key
from deeplens.images.model import ImageRecord, NewImage, Step, about_media, is_video
from deeplens.images.ports import Admission, PendingDue, PendingImages
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


def deletion_request(tenant_id: str, media_id: str, at: datetime) -> ImageMaintenance:
    """The event that requests the removal of everything of a deleted image or video."""
    what: dict[str, Any] = {"subject": "video"} if is_video(media_id) else {"actions": list(ACTIONS)}
    return ImageMaintenance(
        maintenance_type="delete", tenant_id=tenant_id, requested_at=at, **about_media(media_id), **what
    )


def image_uploaded(
    tenant_id: str,
    image: NewImage | ImageRecord,
    metadata: dict[str, Any] | None = None,
    uploaded_at: datetime | None = None,
) -> ImageUploaded:
    """The event that has an image processed from its original.

    ``metadata`` is the image's SHA-256 unless given, and ``uploaded_at`` the image's own.
    """
    generation = image.generation if isinstance(image, ImageRecord) and image.generation > 1 else None
    return view(
        ImageUploaded,
        image,
        image_id=image.id,
        tenant_id=tenant_id,
        generation=generation,
        uploaded_at=uploaded_at or image.uploaded_at,
        metadata={"sha256": image.sha256} if metadata is None else metadata,
    )


@dataclass(frozen=True, slots=True)
class AdmitImages:
    """Record images as pending, and return the events to publish now, with ids that are the same at every repeat.

    Parameters
    ----------
    pending_due : age after which an unfinished image is sent again.
    """

    pending: PendingImages
    pending_due: PendingDue
    clock: Clock

    def admit(self, event: ImageUploaded) -> Admission:
        return self.pending.admit(event, self._due())

    def again(self, tenant: Tenant, image: ImageRecord) -> tuple[ImageUploaded, ...]:
        """The event of an accepted image, which may never have been published; the image is pending again.

        None while the image waits for others of its tenant, and once the first stage has run.
        """
        if image.step is not Step.ACCEPTED:
            return ()
        return publishable(self.admit(image_uploaded(tenant.id, image)))

    def withdraw(self, tenant: Tenant, image_id: str) -> tuple[ImageUploaded, ...]:
        """Forget a pending image, and return the events of the images that take its place."""
        return tuple(map(with_upload_id, self.finish([(tenant.id, image_id)])))

    def finish(
        self, images: Sequence[tuple[str, str]], generations: Sequence[int] | None = None
    ) -> list[ImageUploaded]:
        """Remove ended images from their tenants' windows, and return what takes their place, as ``PendingImages``."""
        return self.pending.finish(images, self._due(), generations)

    def postpone(self, retries: Sequence[tuple[str, str, datetime]]) -> None:
        """Do not send images again before their retries, at these times, are late."""
        self.pending.postpone([(tenant_id, image_id, at + self.pending_due) for tenant_id, image_id, at in retries])

    def _due(self) -> datetime:
        return self.clock.now() + self.pending_due


def publishable(admission: Admission) -> tuple[ImageUploaded, ...]:
    """The event of an admitted image; none while the image waits."""
    return (with_upload_id(admission.event),) if admission.released else ()
