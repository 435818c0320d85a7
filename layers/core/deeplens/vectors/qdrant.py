"""Qdrant over HTTP: a server, the cloud, or the local stack's process. Importing it costs 0.6 s."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import batched
from typing import Any

import httpx
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from deeplens.errors import IndexUnavailable, InvalidEvent, ModelMismatch, TransientError
from deeplens.telemetry import conventions as names
from deeplens.telemetry import tracing
from deeplens.telemetry.metrics import timed
from deeplens.tenants.model import Tenant
from deeplens.vectors.filters import INDEXED_FIELDS, filter_of, point_id
from deeplens.vectors.keys import IndexKeys
from deeplens.vectors.ports import IndexedPoint, Match, Point, PointPage, SearchFilter

EXACT_BELOW = 40_000
"""Kilobytes of vectors up to which a server scans: a filtered graph search loses recall, a scan is as fast."""
POINTS_PER_REQUEST = 256
IDS_PER_REQUEST = 1000
QUERIES_PER_REQUEST = 100
ROUNDING = 1e-6
"""float32 puts an image's similarity to itself at 0.9999999; a threshold of 1 must still find it."""
LIMITS = httpx.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=60)
"""qdrant-client's own default closes every connection to a local server."""


class QdrantIndex:
    """``VectorIndex`` on qdrant-client, one connection pool per endpoint; safe to share between threads.

    Provisioning creates collections, events never do. Where a tenant's collection is missing, ``upsert``, ``search``,
    ``vector_of``, ``replace_payload`` and ``count`` raise ``TransientError``: it concerns one tenant, so it must not
    delay a partition, and "no matches" would be a wrong answer. ``delete`` and ``existing`` find nothing to do.

    Parameters
    ----------
    keys : the API keys by endpoint; by default there are none.
    prefix : begins the names of the collections, so that installations may share a server.
    timeout_seconds : of each request, connecting included.
    """

    def __init__(self, keys: IndexKeys | None = None, prefix: str = "", timeout_seconds: int = 10) -> None:
        self._keys, self._prefix, self._timeout = keys or IndexKeys(), prefix, timeout_seconds
        self._clients: dict[str, QdrantClient] = {}
        self._connecting = threading.Lock()

    def create_collection(self, tenant: Tenant) -> None:
        client, name = self._client(tenant), self._collection(tenant)
        with _translated(tenant):
            if not client.collection_exists(name):
                _create(client, name, tenant.model.dimensions)
            self._require_dimensions(tenant)
            for field, schema in INDEXED_FIELDS.items():
                client.create_payload_index(name, field, models.PayloadSchemaType(schema), wait=True)

    def ping(self, url: str) -> None:
        try:
            self._client_of(url).get_collections()
        except (QdrantException, ApiException, httpx.HTTPError) as error:
            raise IndexUnavailable(type(error).__name__) from error

    def drop_collection(self, tenant: Tenant) -> None:
        with _translated(tenant):
            self._client(tenant).delete_collection(self._collection(tenant))

    def upsert(self, tenant: Tenant, points: Sequence[Point]) -> None:
        for point in points:
            _check_length(tenant, point.vector)
        for some in batched(points, POINTS_PER_REQUEST, strict=False):
            batch = models.Batch(
                ids=[point_id(point.image_id) for point in some],
                vectors=[point.vector for point in some],
                payloads=[_owned(tenant, point.payload) for point in some],
            )
            with self._sized(tenant):
                self._client(tenant).upsert(self._collection(tenant), batch, wait=True)

    def delete(self, tenant: Tenant, image_ids: Sequence[str]) -> None:
        self.delete_points(tenant, [point_id(image_id) for image_id in image_ids])

    def replace_payload(self, tenant: Tenant, image_id: str, payload: dict[str, Any]) -> None:
        # Qdrant refuses to overwrite the payload of a missing point by its id, but not by a filter.
        chosen = models.Filter(must=[models.HasIdCondition(has_id=[point_id(image_id)])])
        with self._sized(tenant):
            self._client(tenant).overwrite_payload(self._collection(tenant), _owned(tenant, payload), chosen, wait=True)

    def search(
        self,
        tenant: Tenant,
        vector: Sequence[float],
        *,
        limit: int,
        threshold: float | None = None,
        where: SearchFilter = SearchFilter(),
    ) -> list[Match]:
        _check_length(tenant, vector)
        with self._sized(tenant):
            found = self._client(tenant).query_points(
                self._collection(tenant),
                query=list(vector),
                query_filter=models.Filter.model_validate(filter_of(where, tenant.id)),
                limit=limit,
                score_threshold=None if threshold is None else threshold - ROUNDING,
                with_payload=True,
            )
        return [_match(point) for point in found.points]

    def neighbours(
        self, tenant: Tenant, wanted: Mapping[str, SearchFilter], *, limit: int, threshold: float
    ) -> dict[str, list[Match]]:
        found: dict[str, list[Match]] = {}
        for some in batched(wanted, QUERIES_PER_REQUEST, strict=False):
            known = self._vectors(tenant, some)
            requests = [
                models.QueryRequest(
                    query=vector,
                    filter=models.Filter.model_validate(filter_of(wanted[image_id], tenant.id)),
                    # One more: an image is its own nearest neighbour.
                    limit=limit + 1,
                    score_threshold=threshold - ROUNDING,
                    with_payload=["image_id"],
                )
                for image_id, vector in known.items()
            ]
            with self._sized(tenant):
                answers = (
                    self._client(tenant).query_batch_points(self._collection(tenant), requests) if requests else []
                )
            for image_id, answer in zip(known, answers, strict=True):
                matches = [_match(point) for point in answer.points]
                found[image_id] = [match for match in matches if match.image_id != image_id][:limit]
        return found

    def _vectors(self, tenant: Tenant, image_ids: Sequence[str]) -> dict[str, list[float]]:
        by_point = {point_id(image_id): image_id for image_id in image_ids}
        with _translated(tenant):
            points = self._client(tenant).retrieve(
                self._collection(tenant), list(by_point), with_payload=["tenant_id"], with_vectors=True
            )
        own = [point for point in points if (point.payload or {}).get("tenant_id") == tenant.id]
        vectors: dict[str, Any] = {by_point[str(point.id)]: point.vector for point in own}
        return {image_id: list(map(float, vector)) for image_id, vector in vectors.items()}

    def vector_of(self, tenant: Tenant, image_id: str) -> list[float] | None:
        return self._vectors(tenant, [image_id]).get(image_id)

    def existing(self, tenant: Tenant, image_ids: Sequence[str]) -> set[str]:
        by_point = {point_id(image_id): image_id for image_id in image_ids}
        found: list[models.Record] = []
        for some in batched(by_point, IDS_PER_REQUEST, strict=False):
            with _translated(tenant, missing_is_fine=True):
                found += self._client(tenant).retrieve(
                    self._collection(tenant), some, with_payload=False, with_vectors=False
                )
        return {by_point[str(point.id)] for point in found}

    def scroll(self, tenant: Tenant, start: str | None, limit: int) -> PointPage:
        found: tuple[list[models.Record], Any] = ([], None)
        with _translated(tenant, missing_is_fine=True):
            found = self._client(tenant).scroll(
                self._collection(tenant), limit=limit, offset=start, with_payload=["image_id", "uploaded_at"]
            )
        points, following = found
        return PointPage(tuple(map(_indexed, points)), None if following is None else str(following))

    def delete_points(self, tenant: Tenant, point_ids: Sequence[str]) -> None:
        if point_ids:
            with _translated(tenant, missing_is_fine=True):
                selector = models.PointIdsList(points=list(point_ids))
                self._client(tenant).delete(self._collection(tenant), selector, wait=True)

    def count(self, tenant: Tenant) -> int:
        with _translated(tenant):
            return self._client(tenant).count(self._collection(tenant), exact=True).count

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _client(self, tenant: Tenant) -> QdrantClient:
        if not tenant.qdrant_url:
            raise IndexUnavailable(f"{tenant.id} has no index endpoint")
        return self._client_of(tenant.qdrant_url)

    def _collection(self, tenant: Tenant) -> str:
        return self._prefix + tenant.collection

    def _client_of(self, url: str) -> QdrantClient:
        with self._connecting:
            if url not in self._clients:
                self._clients[url] = _connect(url, self._keys.key_of(url), self._timeout)
            return self._clients[url]

    def _require_dimensions(self, tenant: Tenant) -> None:
        vectors: Any = self._client(tenant).get_collection(self._collection(tenant)).config.params.vectors
        if vectors.size != tenant.model.dimensions:
            raise ModelMismatch(
                f"{tenant.collection} holds {vectors.size} values a vector, the model gives {tenant.model.dimensions}"
            )

    @contextmanager
    def _sized(self, tenant: Tenant) -> Iterator[None]:
        """Raise ``ModelMismatch`` for a collection of another size, which Qdrant answers with 400 as other errors."""
        try:
            with _translated(tenant):
                yield
        except InvalidEvent:
            with _translated(tenant):
                self._require_dimensions(tenant)
            raise


def _connect(url: str, api_key: str, timeout_seconds: int) -> QdrantClient:
    client = QdrantClient(
        url=url,
        api_key=api_key or None,
        timeout=timeout_seconds,
        check_compatibility=False,
        limits=LIMITS,
        trust_env=False,
    )
    client.http.client.add_middleware(_traced)
    return client


def _traced(request: httpx.Request, send: Any) -> Any:
    """Send a request in a span, which names its operation and not the tenant's collection."""
    operation = f"{request.method} {'/'.join(request.url.path.split('/')[3:])}".strip()
    attributes = {names.DB_SYSTEM: "qdrant", names.DB_OPERATION: operation}
    with timed("index"), tracing.span(f"qdrant {operation}", attributes=attributes):
        return _send_again(request, send)


def _send_again(request: httpx.Request, send: Any) -> Any:
    """Repeat a request whose kept-alive connection was closed: after a frozen environment, or a restarted server.

    Every request of this adapter may be repeated. A time-out is not repeated.
    """
    try:
        return send(request)
    except ResponseHandlingException as error:
        if not isinstance(error.source, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
            raise
        return send(request)


def _create(client: QdrantClient, name: str, dimensions: int) -> None:
    vectors = models.VectorParams(size=dimensions, distance=models.Distance.COSINE)
    hnsw = models.HnswConfigDiff(full_scan_threshold=EXACT_BELOW)
    try:
        client.create_collection(name, vectors_config=vectors, hnsw_config=hnsw)
    except UnexpectedResponse as error:
        # 409: another caller created it.
        if error.status_code != 409:
            raise


def _check_length(tenant: Tenant, vector: Sequence[float]) -> None:
    if len(vector) != tenant.model.dimensions:
        raise ModelMismatch(f"vector of {len(vector)} values, {tenant.collection} takes {tenant.model.dimensions}")


def _owned(tenant: Tenant, payload: dict[str, Any]) -> dict[str, Any]:
    return payload | {"tenant_id": tenant.id}


def _indexed(point: models.Record) -> IndexedPoint:
    payload = point.payload or {}
    return IndexedPoint(str(point.id), payload.get("image_id"), payload.get("uploaded_at"))


def _match(point: models.ScoredPoint) -> Match:
    payload = point.payload or {}
    return Match(payload["image_id"], max(-1.0, min(1.0, point.score)), payload)


@contextmanager
def _translated(tenant: Tenant, *, missing_is_fine: bool = False) -> Iterator[None]:
    """Translate Qdrant's errors: a fault of this tenant is distinguished from an index that is unavailable."""
    try:
        yield
    except UnexpectedResponse as error:
        if error.status_code == 404 and missing_is_fine:
            return
        raise _meaning(error, tenant) from error
    except ResourceExhaustedResponse as error:
        raise IndexUnavailable("asked to slow down", float(error.retry_after_s)) from error
    except ResponseHandlingException as error:
        raise IndexUnavailable(f"{tenant.qdrant_url}: {type(error.source).__name__}") from error
    except (ApiException, QdrantException) as error:
        raise IndexUnavailable(type(error).__name__) from error


def _meaning(error: UnexpectedResponse, tenant: Tenant) -> Exception:
    if error.status_code == 404:
        return TransientError(f"collection {tenant.collection} is missing")
    if error.status_code in (400, 413, 422):
        return InvalidEvent(f"the vector index refused a request on {tenant.collection}: {error.status_code}")
    return IndexUnavailable(f"{tenant.qdrant_url} answered {error.status_code}")
