"""Events of one image: uploaded, extraction requested, indexing requested, completed."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from deeplens.common.event import Event, ImageId, StorageUri, TenantId, VideoId, Wire


class ImageEvent(Event):
    """An event about one image of one tenant.

    ``generation`` rises with every retry, replay and re-upload; absent means 1.
    """

    image_id: ImageId
    tenant_id: TenantId
    generation: int | None = Field(default=None, ge=1)

    @property
    def effective_generation(self) -> int:
        return self.generation or 1

    @property
    def embedding_model(self) -> tuple[str | None, str | None]:
        """Name and version of the model that the event is about; None if it names none."""
        return None, None


class ImageUploaded(ImageEvent):
    file_name: str
    storage_path: StorageUri
    mime_type: str
    size_bytes: int = Field(ge=0)
    uploaded_at: AwareDatetime
    metadata: dict[str, Any] = {}
    video_id: VideoId | None = None
    frame_offset_seconds: float | None = None


class ExtractionParams(Wire):
    model: str
    dimensions: int = Field(gt=0)
    normalize: bool = True
    model_version: str | None = None


class ProcessingMetrics(Wire):
    """Seconds per stage."""

    preprocessing_time: float | None = None
    extraction_time: float | None = None
    indexing_time: float | None = None


class StageTimes(ProcessingMetrics):
    """Seconds that each earlier stage spent on this image; the last stage reports them."""

    accepted_at: AwareDatetime | None = None


class FeatureExtractionRequested(ImageEvent):
    preprocessed_path: StorageUri
    extraction_params: ExtractionParams
    requested_at: AwareDatetime
    times: StageTimes | None = None

    @property
    def embedding_model(self) -> tuple[str | None, str | None]:
        return self.extraction_params.model, self.extraction_params.model_version


class VectorIndexingRequested(ImageEvent):
    """``vectors`` is one float32 embedding, shape (dimensions,)."""

    vectors: list[float] = Field(min_length=1)
    dimensions: int = Field(gt=0)
    metadata: dict[str, Any] = {}
    extracted_at: AwareDatetime
    model: str | None = None
    model_version: str | None = None
    times: StageTimes | None = None

    @property
    def embedding_model(self) -> tuple[str | None, str | None]:
        return self.model, self.model_version


class ProcessingCompleted(ImageEvent):
    status: Literal["completed"] = "completed"
    processing_time: float = Field(ge=0, description="seconds from acceptance to searchable")
    metrics: ProcessingMetrics = ProcessingMetrics()
    completed_at: AwareDatetime
    model: str | None = None
    model_version: str | None = None
