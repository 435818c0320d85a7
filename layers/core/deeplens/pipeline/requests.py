"""Asking for an embedding: of a new image with every model of its tenant, or of an old one with a new model."""

from datetime import datetime

from deeplens.contracts.events import ExtractionParams, FeatureExtractionRequested, StageTimes
from deeplens.domain import ModelRef, Tenant
from deeplens.pipeline.keys import processed_key


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
