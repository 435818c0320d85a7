"""The payload of an image's point in the index."""

from typing import Any

from deeplens.images.model import ImageRecord
from deeplens.tenants.model import Tenant
from deeplens.vectors.filters import is_scalar, metadata_term, rfc3339


def payload_of(record: ImageRecord, tenant: Tenant) -> dict[str, Any]:
    """A point's payload.

    ``metadata`` holds the scalar values for readers, ``metadata_terms`` the same as keywords for filters.
    """
    scalars = {key: value for key, value in record.metadata.items() if is_scalar(value)}
    frame = {"video_id": record.video_id, "frame_offset_seconds": record.frame_offset_seconds}
    return {
        **(frame if record.video_id else {}),
        "tenant_id": tenant.id,
        "image_id": record.id,
        "file_name": record.file_name,
        "uploaded_at": rfc3339(record.uploaded_at),
        "tags": list(record.tags),
        "metadata": scalars,
        "metadata_terms": [metadata_term(key, value) for key, value in scalars.items()],
        "width": record.width,
        "height": record.height,
        "mime_type": record.mime_type,
        "model": tenant.model.name,
        "model_version": tenant.model.version,
        "generation": record.generation,
        "revision": record.revision,
    }
