"""The REST routes, in Qdrant's request and response shapes."""

import time
from collections.abc import Callable
from typing import Any

import qdrant_edge as edge
from pydantic_core import from_json, to_json
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.vector_server.collections import AlreadyExists, BadRequest, Collections, UnknownCollection
from local.vector_server.filters import BadFilter, filter_of

VERSION = "1.20.0"
type Body = dict[str, Any]
type Endpoint = Callable[[Collections, str, Body], Any]


def create_app(collections: Collections) -> Starlette:
    """The ASGI app over ``collections``."""

    def route(path: str, endpoint: Endpoint, method: str) -> Route:
        async def serve(request: Request) -> Response:
            body = await request.body()
            return await run_in_threadpool(_answer, collections, endpoint, request.path_params.get("name", ""), body)

        return Route(path, serve, methods=[method])

    async def ready(_: Request) -> Response:
        return Response("all shards are ready")

    async def root(_: Request) -> Response:
        return Response(to_json({"title": "qdrant - vector search engine", "version": VERSION}), 200, JSON)

    paths = [Route(path, ready) for path in ("/healthz", "/readyz", "/livez")]
    return Starlette(routes=[Route("/", root), *paths, *(route(p, e, m) for p, e, m in ROUTES)])


JSON = {"content-type": "application/json"}


def _answer(collections: Collections, endpoint: Endpoint, name: str, raw: bytes) -> Response:
    started = time.perf_counter()
    try:
        body = from_json(raw) if raw else {}
        status, content = 200, {"result": endpoint(collections, name, body), "status": "ok"}
    except UnknownCollection:
        status, content = 404, _error(f"Not found: Collection `{name}` doesn't exist!")
    except AlreadyExists:
        status, content = 409, _error(f"Wrong input: Collection `{name}` already exists!")
    except (BadRequest, BadFilter, KeyError, TypeError, ValueError) as error:
        status, content = 400, _error(f"Wrong input: {error}")
    except Exception as error:
        # Qdrant Edge raises plain exceptions; a wrong vector size is the client's mistake.
        client_fault = "dimension" in str(error)
        status, content = (400 if client_fault else 500), _error(str(error))
    content["time"] = time.perf_counter() - started
    return Response(to_json(content), status, JSON)


def _error(message: str) -> dict[str, Any]:
    return {"status": {"error": message}}


def list_collections(collections: Collections, _name: str, _body: Body) -> Any:
    return {"collections": [{"name": name} for name in collections.names()]}


def create_collection(collections: Collections, name: str, body: Body) -> bool:
    collections.create(name, body.get("vectors") or {})
    return True


def drop_collection(collections: Collections, name: str, _body: Body) -> bool:
    return collections.drop(name)


def collection_exists(collections: Collections, name: str, _body: Body) -> Any:
    return {"exists": collections.exists(name)}


def collection_info(collections: Collections, name: str, _body: Body) -> Any:
    settings = collections.settings(name)
    with collections.reading(name) as shard:
        points = shard.count(edge.CountRequest(exact=True))
    return {
        "status": "green",
        "optimizer_status": "ok",
        "points_count": points,
        "indexed_vectors_count": 0,
        "segments_count": 1,
        "config": {
            "params": {"vectors": settings["vectors"]},
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 40_000},
            "optimizer_config": {
                "deleted_threshold": 0.2,
                "vacuum_min_vector_number": 1000,
                "default_segment_number": 0,
                "flush_interval_sec": 5,
            },
        },
        "payload_schema": {
            name: {"data_type": schema, "points": points} for name, schema in settings["indexes"].items()
        },
    }


def create_index(collections: Collections, name: str, body: Body) -> Any:
    schema = body["field_schema"]
    collections.add_index(name, body["field_name"], schema["type"] if isinstance(schema, dict) else schema)
    return DONE


def upsert(collections: Collections, name: str, body: Body) -> Any:
    points = [edge.Point(id=p["id"], vector=p["vector"], payload=p.get("payload") or {}) for p in body["points"]]
    size = collections.settings(name)["vectors"]["size"]
    if any(len(p["vector"]) != size for p in body["points"]):
        raise BadRequest(f"Vector dimension error: expected dim: {size}")
    return _update(collections, name, edge.UpdateOperation.upsert_points(points))


def delete_points(collections: Collections, name: str, body: Body) -> Any:
    if "points" in body:
        return _update(collections, name, edge.UpdateOperation.delete_points(body["points"]))
    chosen = filter_of(body["filter"]) or edge.Filter()
    return _update(collections, name, edge.UpdateOperation.delete_points_by_filter(chosen))


def set_payload(collections: Collections, name: str, body: Body) -> Any:
    return _update(collections, name, edge.UpdateOperation.set_payload(body["points"], body["payload"]))


def overwrite_payload(collections: Collections, name: str, body: Body) -> Any:
    """Points that do not exist are skipped, as Qdrant does."""
    with collections.reading(name) as shard:
        present = [found.id for found in shard.retrieve(body["points"], False, False)]
    if not present:
        return DONE
    return _update(collections, name, edge.UpdateOperation.overwrite_payload(present, body["payload"]))


def retrieve(collections: Collections, name: str, body: Body) -> Any:
    with collections.reading(name) as shard:
        found = shard.retrieve(body["ids"], body.get("with_payload", True), body.get("with_vector", False))
        return [_record(point) for point in found]


def query(collections: Collections, name: str, body: Body) -> Any:
    wanted = body["query"]
    vector = wanted["nearest"] if isinstance(wanted, dict) else wanted
    request = edge.QueryRequest(
        limit=body.get("limit", 10),
        offset=body.get("offset"),
        query=edge.Query.Nearest(vector),
        filter=filter_of(body.get("filter")),
        score_threshold=body.get("score_threshold"),
        with_payload=body.get("with_payload", False),
        with_vector=body.get("with_vector", False),
        params=edge.SearchParams(exact=True),
    )
    with collections.reading(name) as shard:
        return {"points": [{**_record(p), "score": p.score, "version": p.version} for p in shard.query(request)]}


def count(collections: Collections, name: str, body: Body) -> Any:
    with collections.reading(name) as shard:
        return {"count": shard.count(edge.CountRequest(exact=True, filter=filter_of(body.get("filter"))))}


def scroll(collections: Collections, name: str, body: Body) -> Any:
    request = edge.ScrollRequest(
        offset=body.get("offset"),
        limit=body.get("limit", 10),
        filter=filter_of(body.get("filter")),
        with_payload=body.get("with_payload", True),
        with_vector=body.get("with_vector", False),
    )
    with collections.reading(name) as shard:
        points, following = shard.scroll(request)
    return {"points": [_record(p) for p in points], "next_page_offset": str(following) if following else None}


DONE = {"operation_id": 0, "status": "completed"}


def _update(collections: Collections, name: str, operation: edge.UpdateOperation) -> Any:
    with collections.writing(name) as shard:
        shard.update(operation)
    return DONE


def _record(point: Any) -> dict[str, Any]:
    record: dict[str, Any] = {"id": str(point.id), "payload": point.payload}
    return {**record, "vector": point.vector} if point.vector is not None else record


ROUTES: tuple[tuple[str, Endpoint, str], ...] = (
    ("/collections", list_collections, "GET"),
    ("/collections/{name}", create_collection, "PUT"),
    ("/collections/{name}", collection_info, "GET"),
    ("/collections/{name}", drop_collection, "DELETE"),
    ("/collections/{name}/exists", collection_exists, "GET"),
    ("/collections/{name}/index", create_index, "PUT"),
    ("/collections/{name}/points", upsert, "PUT"),
    ("/collections/{name}/points", retrieve, "POST"),
    ("/collections/{name}/points/delete", delete_points, "POST"),
    ("/collections/{name}/points/payload", set_payload, "POST"),
    ("/collections/{name}/points/payload", overwrite_payload, "PUT"),
    ("/collections/{name}/points/query", query, "POST"),
    ("/collections/{name}/points/count", count, "POST"),
    ("/collections/{name}/points/scroll", scroll, "POST"),
)
