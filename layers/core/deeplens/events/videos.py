"""Uploaded videos."""

from typing import Any

from pydantic import AwareDatetime, Field

from deeplens.common.event import Event, StorageUri, TenantId, VideoId


class VideoUploaded(Event):
    video_id: VideoId
    tenant_id: TenantId
    file_name: str
    storage_path: StorageUri
    mime_type: str
    size_bytes: int = Field(ge=0)
    duration: float = Field(ge=0, description="seconds; 0 before the file has been looked into")
    uploaded_at: AwareDatetime
    metadata: dict[str, Any] = {}
    segment: int | None = Field(default=None, ge=0, description="the part that it is about; absent: how to split it")

    @property
    def key(self) -> str:
        """Parts of one video spread over the partitions."""
        return ":".join([self.tenant_id, self.video_id, *([] if self.segment is None else [str(self.segment)])])
