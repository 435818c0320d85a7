"""What a point carries beside its vector; filters and results read it."""

from typing import Any

from deeplens.domain import ImageRecord, Tenant

KEYWORD_FIELDS = ("tenant_id", "image_id", "tags")
DATETIME_FIELDS = ("uploaded_at",)


def payload_of(record: ImageRecord, tenant: Tenant) -> dict[str, Any]:
    """A point's payload. It names its tenant and model: a search checks the first, the index the second."""
    return {
        "tenant_id": tenant.id,
        "image_id": record.id,
        "file_name": record.file_name,
        "uploaded_at": record.uploaded_at.isoformat(),
        "tags": list(record.tags),
        "metadata": record.metadata,
        "model": tenant.model.name,
        "model_version": tenant.model.version,
        "generation": record.generation,
        "revision": record.revision,
    }
