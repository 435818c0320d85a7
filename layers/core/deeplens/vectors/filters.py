"""Ids of points, payload indexes, and search filters as Qdrant's JSON; pure functions."""

import json
import math
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from deeplens.vectors.ports import SearchFilter

NAMESPACE = UUID("0a5e3b0c-6a0e-5c6e-9d1f-3b8a52b8f7d4")
INDEXED_FIELDS = {
    "tenant_id": "keyword",
    "image_id": "keyword",
    "video_id": "keyword",
    "tags": "keyword",
    "metadata_terms": "keyword",
    "uploaded_at": "datetime",
}
"""Payload indexes of every collection: field → Qdrant's schema name."""


def point_id(image_id: str) -> str:
    """A point's id, derived from its image's, so that indexing an image again replaces its point."""
    return str(uuid5(NAMESPACE, image_id))


def filter_of(where: SearchFilter, tenant_id: str) -> dict[str, Any]:
    """Qdrant's filter. It always names the tenant, beside the tenant's own collection."""
    must = [_is("tenant_id", tenant_id)]
    must += [_is("tags", tag) for tag in where.tags]
    must += [_is("metadata_terms", metadata_term(key, value)) for key, value in where.metadata.items()]
    bounds = {"gte": where.uploaded_from, "lt": where.uploaded_before}
    period = {bound: rfc3339(moment) for bound, moment in bounds.items() if moment}
    if period:
        must.append({"key": "uploaded_at", "range": period})
    if where.without_frames:
        must.append({"is_empty": {"key": "video_id"}})
    must_not: list[dict[str, Any]] = []
    if where.exclude_image_ids:
        must_not.append({"has_id": [point_id(image_id) for image_id in where.exclude_image_ids]})
    if where.exclude_video_ids:
        must_not.append({"key": "video_id", "match": {"any": list(where.exclude_video_ids)}})
    return {"must": must, "must_not": must_not} if must_not else {"must": must}


def metadata_term(key: str, value: str | int | float | bool) -> str:
    """One metadata entry as a keyword, equal exactly when key and value are; 1 and 1.0 are one value, 1 and true two.

    A keyword is indexed, and works for keys that Qdrant's paths cannot name and for numbers beyond its 64 bits.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def is_scalar(value: Any) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _is(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "match": {"value": value}}


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
