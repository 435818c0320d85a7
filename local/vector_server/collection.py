"""A collection: a Qdrant Edge shard, and the requests that it serves."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import qdrant_edge as edge

from local.vector_server import translate
from local.vector_server.errors import bad_request, not_found
from local.vector_server.translate import Json

MARKER = "collection.json"
"""File that is written last when a collection is created and removed first when it is dropped.

A directory without it is an incomplete collection.
"""
COMPLETED = {"operation_id": 0, "status": "completed"}


@dataclass(frozen=True, slots=True)
class CollectionParams:
    """Parameters that are fixed when a collection is created."""

    size: int
    distance: str
    m: int = 16
    ef_construct: int = 100
    full_scan_threshold: int = 40_000

    @classmethod
    def parse(cls, body: Json) -> Self:
        vectors, hnsw = body.get("vectors"), body.get("hnsw_config") or {}
        if not isinstance(vectors, dict) or not isinstance(vectors.get("size"), int) or vectors["size"] < 1:
            raise bad_request("vectors must have one size and distance; named vectors are not supported here")
        if vectors.get("distance") not in translate.DISTANCES:
            raise bad_request(f"distance must be one of {', '.join(translate.DISTANCES)}")
        names = ("m", "ef_construct", "full_scan_threshold")
        return cls(vectors["size"], vectors["distance"], **{n: hnsw[n] for n in names if hnsw.get(n) is not None})

    def config(self) -> edge.EdgeConfig:
        # One search thread: with a shard per tenant, more threads would mostly be idle.
        return edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=self.size, distance=translate.DISTANCES[self.distance]),
            hnsw_config=edge.HnswIndexConfig(self.m, self.ef_construct, self.full_scan_threshold),
            max_search_threads=1,
            wal_enabled=True,
        )


class Collection:
    """An open shard. Each request method takes and returns JSON; it raises ``RequestError`` if it cannot be served.

    It is not thread-safe: all requests run on the event loop.
    """

    def __init__(self, params: CollectionParams, shard: edge.EdgeShard) -> None:
        self.params, self._shard = params, shard
        self.unflushed = 0

    @classmethod
    def create(cls, path: Path, params: CollectionParams) -> Self:
        shutil.rmtree(path, ignore_errors=True)
        (path / "shard").mkdir(parents=True)
        shard = edge.EdgeShard.create(str(path / "shard"), params.config())
        draft = path / f"{MARKER}.new"
        draft.write_text(json.dumps(asdict(params)))
        draft.replace(path / MARKER)
        return cls(params, shard)

    @classmethod
    def load(cls, path: Path) -> Self:
        params = CollectionParams(**json.loads((path / MARKER).read_text()))
        return cls(params, edge.EdgeShard.load(str(path / "shard"), params.config()))

    def close(self) -> None:
        self._shard.flush()
        self._shard.close()

    def flush(self) -> None:
        """Write changes to disk, which also shortens the write-ahead log."""
        self._shard.flush()
        self.unflushed = 0

    def upsert(self, body: Json) -> Json:
        points = translate.points_of(body, self.params.size)
        if points:
            self._update(edge.UpdateOperation.upsert_points(points), len(points))
        return COMPLETED

    def delete(self, body: Json) -> Json:
        return self._on_selected(body, edge.UpdateOperation.delete_points, edge.UpdateOperation.delete_points_by_filter)

    def set_payload(self, body: Json) -> Json:
        self._require_points(body.get("points"))
        return self._on_selected(
            body,
            edge.UpdateOperation.set_payload,
            edge.UpdateOperation.set_payload_by_filter,
            body["payload"],
            body.get("key"),
        )

    def overwrite_payload(self, body: Json) -> Json:
        self._require_points(body.get("points"))
        return self._on_selected(
            body,
            edge.UpdateOperation.overwrite_payload,
            edge.UpdateOperation.overwrite_payload_by_filter,
            body["payload"],
            body.get("key"),
        )

    def create_index(self, body: Json) -> Json:
        schema = translate.schema_of(body.get("field_schema") or {})
        self._update(edge.UpdateOperation.create_field_index(body["field_name"], schema))
        return COMPLETED

    def delete_index(self, field: str) -> Json:
        self._update(edge.UpdateOperation.delete_field_index(field))
        return COMPLETED

    def retrieve(self, body: Json) -> list[Json]:
        ids = [translate.point_id(value) for value in body["ids"]]
        with_payload = translate.payload_selector(body.get("with_payload", True))
        return [
            translate.record_json(r) for r in self._shard.retrieve(ids, with_payload, body.get("with_vector", False))
        ]

    def get(self, point_id: str) -> Json:
        value = int(point_id) if point_id.isdecimal() else point_id
        points = self.retrieve({"ids": [value], "with_vector": True})
        if not points:
            raise not_found(f"Point with id {point_id} does not exists!")
        return points[0]

    def query(self, body: Json) -> Json:
        params, vector = body.get("params") or {}, translate.nearest_of(body)
        translate.check_vector(vector, self.params.size)
        request = edge.QueryRequest(
            limit=body.get("limit") or 10,
            offset=body.get("offset"),
            query=edge.Query.Nearest(vector),
            filter=translate.filter_of(body.get("filter")),
            score_threshold=body.get("score_threshold"),
            with_payload=translate.payload_selector(body.get("with_payload", False)),
            with_vector=body.get("with_vector", False),
            params=edge.SearchParams(hnsw_ef=params.get("hnsw_ef"), exact=bool(params.get("exact"))),
        )
        return {"points": [translate.scored_json(point) for point in self._shard.query(request)]}

    def query_batch(self, body: Json) -> list[Json]:
        return [self.query(search) for search in body["searches"]]

    def scroll(self, body: Json) -> Json:
        request = edge.ScrollRequest(
            offset=body.get("offset"),
            limit=body.get("limit") or 10,
            filter=translate.filter_of(body.get("filter")),
            with_payload=translate.payload_selector(body.get("with_payload", True)),
            with_vector=body.get("with_vector", False),
        )
        records, after = self._shard.scroll(request)
        return {"points": [translate.record_json(r) for r in records], "next_page_offset": translate.str_id(after)}

    def count(self, body: Json) -> Json:
        request = edge.CountRequest(exact=body.get("exact", True), filter=translate.filter_of(body.get("filter")))
        return {"count": self._shard.count(request)}

    def info(self) -> Json:
        """Return Qdrant's description of a collection; settings that Edge does not have show Qdrant's defaults."""
        params, state = self.params, self._shard.info()
        return {
            "status": "green",
            "optimizer_status": "ok",
            "points_count": state.points_count,
            "indexed_vectors_count": state.indexed_vectors_count,
            "segments_count": state.segments_count,
            "config": {
                "params": {"vectors": {"size": params.size, "distance": params.distance}},
                "hnsw_config": {
                    "m": params.m,
                    "ef_construct": params.ef_construct,
                    "full_scan_threshold": params.full_scan_threshold,
                },
                "optimizer_config": {
                    "deleted_threshold": 0.2,
                    "vacuum_min_vector_number": 1000,
                    "default_segment_number": 1,
                    "flush_interval_sec": 5,
                },
            },
            "payload_schema": {
                field: {"data_type": _schema_name(index.data_type), "points": index.points}
                for field, index in state.payload_schema.items()
            },
        }

    def _require_points(self, ids: list[Any] | None) -> None:
        """Raise ``RequestError`` 404 unless all points exist."""
        present = {translate.str_id(record.id) for record in self._shard.retrieve(ids, False, False)} if ids else set()
        missing = [point_id for point_id in ids or () if point_id not in present]
        if missing:
            raise not_found(f"No point with id {missing[0]} found")

    def _on_selected(self, body: Json, by_ids: Any, by_filter: Any, *arguments: Any) -> Json:
        if body.get("points") is not None:
            ids = [translate.point_id(value) for value in body["points"]]
            self._update(by_ids(ids, *arguments), len(ids))
        elif body.get("filter") is not None:
            self._update(by_filter(translate.filter_of(body["filter"]) or edge.Filter(), *arguments))
        else:
            raise bad_request("either points or filter is required")
        return COMPLETED

    def _update(self, operation: edge.UpdateOperation, points: int = 1) -> None:
        self.unflushed += points
        self._shard.update(operation)


def _schema_name(data_type: Any) -> str:
    return next(name for name, schema in translate.SCHEMAS.items() if schema == data_type)
