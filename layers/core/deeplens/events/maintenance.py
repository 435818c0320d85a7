"""Requests for maintenance of images."""

from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from deeplens.common.event import Event, ImageId, Subject, TenantId, VideoId


class ImageMaintenance(Event):
    maintenance_type: str
    image_id: ImageId | None = None
    tenant_id: TenantId
    actions: list[str] = []
    requested_at: AwareDatetime
    subject: Subject | None = None
    job: str | None = Field(default=None, description="what a slice of longer work belongs to, e.g. a rollout")
    cursor: str | None = Field(default=None, description="where that slice begins")
    keys: list[str] | None = Field(default=None, description="of objects in the store that job names")
    video_id: VideoId | None = None

    @model_validator(mode="after")
    def _an_image_has_its_id(self) -> Self:
        if (self.subject or "image") == "image" and not self.image_id:
            raise ValueError("maintenance of an image names imageId")
        return self
