"""The local vector server answers invalid requests as Qdrant does, and keeps its data on disk."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.vector_server.app import MAX_BODY_BYTES, VectorServer
from local.vector_server.catalogue import Catalogue
from local.vector_server.collection import MARKER

SHAPE = {"vectors": {"size": 2, "distance": "Cosine"}}
ID = "6a56a0a0-7d4d-4c0b-a8e9-0d58c0f6b0f5"


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    opened = Catalogue(tmp_path, max_open=2)
    yield opened
    opened.close()


@pytest.fixture
def server(catalogue: Catalogue) -> VectorServer:
    catalogue.create("some", SHAPE)
    return VectorServer(catalogue)


def ask(
    server: VectorServer, method: str, path: str, body: Any = b"", headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """One request, without a loop: the server never waits for anything but its callbacks."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": path, "headers": pairs}
    with pytest.raises(StopIteration):
        server(scope, receive, send).send(None)
    answer = sent[1]["body"]
    return sent[0]["status"], json.loads(answer) if answer.startswith(b"{") else answer


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("GET", "/collections/none", b"", 404, "Collection `none` doesn't exist!"),
        ("PUT", "/collections/none/points", {"points": []}, 404, "Collection `none` doesn't exist!"),
        ("PUT", "/collections/some", SHAPE, 409, "already exists"),
        ("PUT", "/collections/new", {"vectors": {"size": 0, "distance": "Cosine"}}, 400, "size"),
        ("PUT", "/collections/new", {"vectors": {"size": 2, "distance": "Near"}}, 400, "distance"),
        ("PUT", "/collections/new", {"vectors": {"a": SHAPE["vectors"]}}, 400, "named vectors"),
        ("PUT", "/collections/..", SHAPE, 400, "collection name"),
        ("PUT", "/collections/.lock", SHAPE, 400, "collection name"),
        ("PUT", f"/collections/{'a' * 256}", SHAPE, 400, "collection name"),
        ("PUT", "/collections/../some", SHAPE, 404, "not part of the API"),
        ("PATCH", "/collections/some", SHAPE, 405, "not part of the API"),
        ("POST", "/collections/some/points/recommend", {}, 405, "not part of the API"),
        ("PUT", "/collections/some/points", b'{"points', 400, "JSON"),
        ("PUT", "/collections/some/points", b"[]", 400, "object"),
        ("PUT", "/collections/some/points", {}, 400, "points"),
        ("PUT", "/collections/some/points", {"points": [{"id": ID, "vector": [1]}]}, 400, "expected dim: 2, got 1"),
        ("PUT", "/collections/some/points", {"points": [{"id": ID, "vector": [1, None]}]}, 400, "number"),
        ("PUT", "/collections/some/points", {"points": [{"id": ID, "vector": {"a": [1, 2]}}]}, 400, "named"),
        ("PUT", "/collections/some/points", {"points": [{"id": "img_a", "vector": [1, 2]}]}, 400, "UUID"),
        ("PUT", "/collections/some/points", {"points": [{"id": True, "vector": [1, 2]}]}, 400, "point ID"),
        ("PUT", "/collections/some/points", b" " * (MAX_BODY_BYTES + 1), 413, "exceeded"),
        ("POST", "/collections/some/points/query", {"query": [1]}, 400, "expected dim"),
        ("POST", "/collections/some/points/query/batch", {"searches": [{"query": [1]}]}, 400, "expected dim"),
        ("POST", "/collections/none/points/query/batch", {"searches": []}, 404, "Collection `none` doesn't exist!"),
        ("POST", "/collections/some/points/query", {"query": {"recommend": {}}}, 400, "vector"),
        (
            "POST",
            "/collections/some/points/count",
            {"filter": {"must": [{"key": "a", "match": {"value": True}}]}},
            400,
            "boolean",
        ),
        (
            "POST",
            "/collections/some/points/count",
            {"filter": {"must": [{"key": "a", "geo_radius": {}}]}},
            400,
            "geo_radius",
        ),
        ("POST", "/collections/some/points/count", {"filter": {"musst": []}}, 400, "musst"),
        ("POST", "/collections/some/points/delete", {}, 400, "points or filter"),
        ("PUT", "/collections/some/points/payload", {"points": [ID], "payload": {}}, 404, ID),
        ("PUT", "/collections/some/index", {"field_name": "a", "field_schema": "geo"}, 400, "geo"),
        ("GET", f"/collections/some/points/{ID}", b"", 404, ID),
    ],
)
def test_wrong_requests_are_answered_as_qdrant_does(
    server: VectorServer, method: str, path: str, body: Any, status: int, says: str
) -> None:
    answered, content = ask(server, method, path, body)
    assert answered == status
    assert says in content["status"]["error"]
    assert content["time"] >= 0


def test_a_refused_batch_writes_none_of_its_points(server: VectorServer) -> None:
    points = [{"id": 1, "vector": [1, 2]}, {"id": 2, "vector": [1]}]
    assert ask(server, "PUT", "/collections/some/points", {"points": points})[0] == 400
    assert ask(server, "POST", "/collections/some/points/count", {})[1]["result"] == {"count": 0}


def test_points_are_listed_page_by_page_and_chosen_by_filter(server: VectorServer) -> None:
    points = [{"id": n, "vector": [1, n], "payload": {"odd": str(n % 2)}} for n in range(1, 6)]
    ask(server, "PUT", "/collections/some/points", {"points": points})
    odd = {"must": {"key": "odd", "match": {"any": ["1", "7"]}}}
    _, first = ask(server, "POST", "/collections/some/points/scroll", {"limit": 2, "filter": odd})
    assert ([hit["id"] for hit in first["result"]["points"]], first["result"]["next_page_offset"]) == ([1, 3], 5)
    ask(server, "POST", "/collections/some/points/delete", {"filter": odd})
    _, rest = ask(server, "POST", "/collections/some/points/scroll", {"limit": 9, "with_payload": ["none"]})
    assert [(hit["id"], hit["payload"]) for hit in rest["result"]["points"]] == [(2, {}), (4, {})]
    assert rest["result"]["next_page_offset"] is None


def test_setting_a_payload_adds_and_overwriting_replaces(server: VectorServer) -> None:
    ask(server, "PUT", "/collections/some/points", {"points": [{"id": 1, "vector": [1, 2], "payload": {"a": 1}}]})
    ask(server, "POST", "/collections/some/points/payload", {"points": [1], "payload": {"b": 2}})
    assert ask(server, "GET", "/collections/some/points/1")[1]["result"]["payload"] == {"a": 1, "b": 2}
    ask(server, "PUT", "/collections/some/points/payload", {"filter": {"must": [{"has_id": [1]}]}, "payload": {"c": 3}})
    assert ask(server, "GET", "/collections/some/points/1")[1]["result"]["payload"] == {"c": 3}


def test_an_api_key_is_asked_for_but_not_by_probes(catalogue: Catalogue) -> None:
    server = VectorServer(catalogue, "secret")
    assert ask(server, "GET", "/collections")[0] == 401
    assert ask(server, "GET", "/collections", headers={"api-key": "other"})[0] == 401
    assert ask(server, "GET", "/collections", headers={"api-key": "secret"})[0] == 200
    assert ask(server, "GET", "/collections", headers={"authorization": "Bearer secret"})[0] == 200
    assert [ask(server, "GET", path)[0] for path in ("/healthz", "/readyz", "/livez")] == [200] * 3


def test_collections_beyond_the_limit_are_closed_and_opened_again(catalogue: Catalogue) -> None:
    for n in range(5):
        catalogue.create(f"c{n}", SHAPE)
        catalogue.get(f"c{n}").upsert({"points": [{"id": n, "vector": [1, 2]}]})
    assert [catalogue.get(f"c{n}").count({})["count"] for n in range(5)] == [1] * 5
    assert catalogue.open_names() == ["c3", "c4"]


def test_collections_written_to_are_flushed_once(catalogue: Catalogue) -> None:
    for name in ("idle", "busy", "dropped"):
        catalogue.create(name, SHAPE)
    for name in ("busy", "dropped"):
        catalogue.get(name).upsert({"points": [{"id": 1, "vector": [1, 2]}]})
    waiting = catalogue.unflushed()
    catalogue.drop("dropped")
    for name in waiting:
        catalogue.flush(name)
    assert (sorted(waiting), catalogue.unflushed()) == (["busy", "dropped"], [])


def test_written_points_survive_a_restart(tmp_path: Path) -> None:
    first = Catalogue(tmp_path)
    first.create("kept", SHAPE)
    first.create("dropped", SHAPE)
    first.get("kept").create_index({"field_name": "tags", "field_schema": "keyword"})
    first.get("kept").upsert({"points": [{"id": 1, "vector": [3, 4], "payload": {"tags": ["a"]}}]})
    assert (first.drop("dropped"), first.drop("dropped")) == (True, False)
    first.close()
    second = Catalogue(tmp_path)
    assert second.names() == ["kept"]
    assert second.get("kept").retrieve({"ids": [1], "with_vector": True}) == [
        {"id": 1, "payload": {"tags": ["a"]}, "vector": pytest.approx([0.6, 0.8])}
    ]
    assert second.get("kept").info()["payload_schema"] == {"tags": {"data_type": "keyword", "points": 1}}
    second.close()


def test_an_incomplete_collection_is_removed(tmp_path: Path) -> None:
    first = Catalogue(tmp_path)
    first.create("half", SHAPE)
    first.close()
    (tmp_path / "half" / MARKER).unlink()
    second = Catalogue(tmp_path)
    assert (second.names(), second.exists("half"), (tmp_path / "half").exists()) == ([], False, False)
    second.create("half", SHAPE)
    assert second.get("half").count({}) == {"count": 0}
    second.close()


def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    owner = Catalogue(tmp_path)
    with pytest.raises(BlockingIOError):
        Catalogue(tmp_path)
    owner.close()
    Catalogue(tmp_path).close()
