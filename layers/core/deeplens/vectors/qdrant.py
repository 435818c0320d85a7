"""Qdrant over HTTP: a server, the cloud, or the local stack's process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid5

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from deeplens.domain import Match, Point, SearchFilter, Tenant
from deeplens.errors import IndexUnavailable, ModelMismatch
from deeplens.vectors.payload import DATETIME_FIELDS, KEYWORD_FIELDS

NAMESPACE = UUID("0a5e3b0c-6a0e-5c6e-9d1f-3b8a52b8f7d4")
EXACT_BELOW = 40_000
"""Kilobytes of vectors up to which a server scans: filtered graph search loses recall, a scan is as fast."""


def point_id(image_id: str) -> str:
    """A point's id, derived from its image's: indexing again replaces."""
    return str(uuid5(NAMESPACE, image_id))


class QdrantIndex:
    """``VectorIndex`` on qdrant-client, one connection pool per endpoint.

    A collection that is missing is ``IndexUnavailable``: provisioning creates it, events never do.
    """

    def __init__(self, api_key: str = "", timeout_seconds: int = 10) -> None:
        self._api_key, self._timeout = api_key, timeout_seconds
        self._clients: dict[str, QdrantClient] = {}

    def create_collection(self, tenant: Tenant) -> None:
        client = self._client(tenant)
        with _translated():
            if not client.collection_exists(tenant.collection):
                self._create(client, tenant)
            for field, schema in INDEXES.items():
                client.create_payload_index(tenant.collection, field, field_schema=schema, wait=True)

    def drop_collection(self, tenant: Tenant) -> None:
        with _translated():
            self._client(tenant).delete_collection(tenant.collection)

    def upsert(self, tenant: Tenant, points: Sequence[Point]) -> None:
        if not points:
            return
        if any(len(point.vector) != tenant.model.dimensions for point in points):
            raise ModelMismatch(f"the collection takes {tenant.model.dimensions} values a vector")
        structs = [
            models.PointStruct.model_construct(id=point_id(p.image_id), vector=p.vector, payload=p.payload)
            for p in points
        ]
        with _translated():
            self._client(tenant).upsert(tenant.collection, structs, wait=True)

    def delete(self, tenant: Tenant, image_ids: Sequence[str]) -> None:
        if not image_ids:
            return
        selector = models.PointIdsList(points=[point_id(image_id) for image_id in image_ids])
        with _translated(missing_collection_is_fine=True):
            self._client(tenant).delete(tenant.collection, selector, wait=True)

    def replace_payload(self, tenant: Tenant, image_id: str, payload: dict[str, Any]) -> None:
        with _translated():
            self._client(tenant).overwrite_payload(tenant.collection, payload, points=[point_id(image_id)], wait=True)

    def search(
        self,
        tenant: Tenant,
        vector: Sequence[float],
        *,
        limit: int,
        threshold: float | None = None,
        where: SearchFilter = SearchFilter(),
    ) -> list[Match]:
        if len(vector) != tenant.model.dimensions:
            raise ModelMismatch(f"the collection takes {tenant.model.dimensions} values a vector")
        with _translated():
            found = self._client(tenant).query_points(
                tenant.collection,
                query=list(vector),
                query_filter=filter_of(tenant, where),
                limit=limit,
                score_threshold=threshold,
                with_payload=True,
            )
        return [Match((p.payload or {})["image_id"], p.score, p.payload or {}) for p in found.points]

    def vector_of(self, tenant: Tenant, image_id: str) -> list[float] | None:
        with _translated():
            found = self._client(tenant).retrieve(
                tenant.collection, [point_id(image_id)], with_payload=False, with_vectors=True
            )
        vector = found[0].vector if found else None
        return [float(value) for value in vector] if isinstance(vector, list) else None  # type: ignore[arg-type]

    def existing(self, tenant: Tenant, image_ids: Sequence[str]) -> set[str]:
        if not image_ids:
            return set()
        by_point = {point_id(image_id): image_id for image_id in image_ids}
        with _translated():
            found = self._client(tenant).retrieve(
                tenant.collection, list(by_point), with_payload=False, with_vectors=False
            )
        return {by_point[str(point.id)] for point in found}

    def count(self, tenant: Tenant) -> int:
        with _translated():
            return int(self._client(tenant).count(tenant.collection, exact=True).count)

    def _client(self, tenant: Tenant) -> QdrantClient:
        url = tenant.qdrant_url
        if not url:
            raise IndexUnavailable("QDRANT_URL is not set")
        if url not in self._clients:
            self._clients[url] = QdrantClient(
                url=url,
                api_key=self._api_key or None,
                timeout=self._timeout,
                prefer_grpc=False,
                check_compatibility=False,
                trust_env=False,
            )
        return self._clients[url]

    def _create(self, client: QdrantClient, tenant: Tenant) -> None:
        vectors = models.VectorParams(size=tenant.model.dimensions, distance=models.Distance.COSINE)
        hnsw = models.HnswConfigDiff(full_scan_threshold=EXACT_BELOW)
        try:
            client.create_collection(tenant.collection, vectors_config=vectors, hnsw_config=hnsw)
        except UnexpectedResponse as error:
            if error.status_code != 409:
                raise


INDEXES = {
    **dict.fromkeys(KEYWORD_FIELDS, models.PayloadSchemaType.KEYWORD),
    **dict.fromkeys(DATETIME_FIELDS, models.PayloadSchemaType.DATETIME),
}


def filter_of(tenant: Tenant, where: SearchFilter) -> models.Filter:
    """Qdrant's form of a filter. It always names the tenant: a second border behind the collection's."""
    must: list[models.Condition] = [_equals("tenant_id", tenant.id)]
    must += [_equals("tags", tag) for tag in where.tags]
    must += [_equals(f"metadata.{_path(name)}", value) for name, value in where.metadata.items()]
    if where.uploaded_from or where.uploaded_before:
        bounds = models.DatetimeRange(gte=where.uploaded_from, lt=where.uploaded_before)
        must.append(models.FieldCondition(key="uploaded_at", range=bounds))
    excluded = [point_id(image_id) for image_id in where.exclude_image_ids]
    return models.Filter(must=must, must_not=[models.HasIdCondition(has_id=list(excluded))] if excluded else None)


def _equals(key: str, value: str | int | float | bool) -> models.FieldCondition:
    if isinstance(value, float):
        return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _path(name: str) -> str:
    """A key as one step of a JSON path, quoted unless it is a plain word."""
    return name if name.replace("_", "").isalnum() and name.isascii() else '"' + name.replace('"', "") + '"'


@contextmanager
def _translated(*, missing_collection_is_fine: bool = False) -> Iterator[None]:
    """Qdrant's errors as ours."""
    try:
        yield
    except UnexpectedResponse as error:
        if missing_collection_is_fine and error.status_code == 404:
            return
        raise IndexUnavailable(f"answered {error.status_code}") from error
    except (ResponseHandlingException, ApiException, OSError) as error:
        raise IndexUnavailable(type(error).__name__) from error
