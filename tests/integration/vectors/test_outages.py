"""Outages of a ``VectorIndex``: missing collections, killed and restarted servers, and refused requests."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from deeplens.errors import IndexUnavailable, InvalidEvent, TransientError
from deeplens.tenants.model import Tenant
from deeplens.vectors.keys import IndexKeys
from deeplens.vectors.ports import Point, VectorIndex
from deeplens.vectors.qdrant import QdrantIndex

from local.services.process import ServiceFailed, free_port
from local.services.vectors import VectorService
from tests.integration.vectors.conftest import ids, point, tenant_at, vector


def test_a_missing_collection_fails_its_tenant_only_and_is_never_made_by_a_write(
    index: VectorIndex, endpoint: str
) -> None:
    unknown = tenant_at(endpoint)
    for call in (
        lambda: index.upsert(unknown, [point(unknown, "img_a", 1)]),
        lambda: index.search(unknown, vector(1), limit=1),
        lambda: index.replace_payload(unknown, "img_a", {}),
        lambda: index.vector_of(unknown, "img_a"),
        lambda: index.count(unknown),
    ):
        with pytest.raises(TransientError):
            call()
    index.delete(unknown, ["img_a"])
    assert index.existing(unknown, ["img_a"]) == set()


def test_every_acknowledged_point_survives_a_killed_server(own_service: VectorService) -> None:
    index, tenant = QdrantIndex(), tenant_at(own_service.environment["QDRANT_URL"])
    index.create_collection(tenant)
    with ThreadPoolExecutor(1) as other:
        writing = other.submit(write_until_away, index, tenant)
        while index.count(tenant) < 50 and not writing.done():
            continue
        own_service.kill()
        acknowledged = writing.result(timeout=60)
    with pytest.raises(IndexUnavailable):
        index.count(tenant)
    own_service.start()
    assert len(acknowledged) >= 50
    assert index.existing(tenant, acknowledged) == set(acknowledged)
    assert len(ids(index, tenant, tags=("kept",))) == 50


def write_until_away(index: VectorIndex, tenant: Tenant) -> list[str]:
    """Write single points for as long as they are acknowledged; returns those that were."""
    acknowledged: list[str] = []
    for n in itertools.count():
        try:
            index.upsert(tenant, [point(tenant, f"img_{n}", 1, n, tags=("kept",))])
        except IndexUnavailable:
            return acknowledged
        acknowledged.append(f"img_{n}")
    raise AssertionError


def test_a_restarted_server_is_reached_over_connections_kept_from_before(own_service: VectorService) -> None:
    index, tenant = QdrantIndex(), tenant_at(own_service.environment["QDRANT_URL"])
    index.create_collection(tenant)
    index.upsert(tenant, [point(tenant, "img_a", 1)])
    own_service.stop()
    own_service.start()
    assert index.count(tenant) == 1


def test_a_request_lost_with_its_connection_is_sent_again() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), ForgetfulQdrant) as forgetful:
        Thread(target=forgetful.serve_forever, daemon=True).start()
        index, tenant = QdrantIndex(), tenant_at(f"http://127.0.0.1:{forgetful.server_port}")
        assert [index.count(tenant) for _ in range(4)] == [7] * 4
        index.close()
        forgetful.shutdown()


class ForgetfulQdrant(BaseHTTPRequestHandler):
    """Answers the first request of each connection and drops the connection at the second, unanswered."""

    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.answered = False

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.close_connection = self.answered
        if not self.answered:
            body = b'{"result": {"count": 7}, "status": "ok", "time": 0}'
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.wfile.write(head + body)
        self.answered = True


def test_an_index_that_is_away_is_unavailable() -> None:
    tenant = tenant_at(f"http://127.0.0.1:{free_port()}")
    for call in (
        lambda: QdrantIndex().create_collection(tenant),
        lambda: QdrantIndex().upsert(tenant, [point(tenant, "img_a", 1)]),
        lambda: QdrantIndex().search(tenant, vector(1), limit=1),
        lambda: QdrantIndex().delete(tenant, ["img_a"]),
        lambda: QdrantIndex().existing(tenant, ["img_a"]),
    ):
        with pytest.raises(IndexUnavailable):
            call()


def test_a_vector_that_is_no_number_is_refused_for_good(service: VectorService) -> None:
    index, tenant = QdrantIndex(), tenant_at(service.environment["QDRANT_URL"])
    index.create_collection(tenant)
    with pytest.raises(InvalidEvent):
        index.upsert(tenant, [Point("img_a", vector(float("nan")), {})])
    assert index.count(tenant) == 0


def test_a_wrong_api_key_is_an_index_that_is_away(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "right")
    tenant = tenant_at(request.getfixturevalue("own_service").environment["QDRANT_URL"])
    with pytest.warns(UserWarning, match="insecure"), pytest.raises(IndexUnavailable):
        QdrantIndex(IndexKeys.of("wrong", tenant.qdrant_url, required=False)).create_collection(tenant)
    with pytest.warns(UserWarning, match="insecure"):
        QdrantIndex(IndexKeys.of("right", tenant.qdrant_url, required=False)).create_collection(tenant)


def test_the_platforms_key_is_not_sent_to_an_endpoint_of_a_tenant() -> None:
    seen: list[str | None] = []

    class Thief(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["api-key"])
            self.send_error(500)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Thief)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    index = QdrantIndex(IndexKeys.of("the platform's key", "http://127.0.0.1:6333", required=False))
    try:
        with pytest.raises(IndexUnavailable):
            index.create_collection(tenant_at(f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
        server.server_close()
    assert seen == [None]


def test_a_taken_port_is_reported_with_the_way_out(service: VectorService, tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match=f"port {service.port} is taken.*DEEPLENS_QDRANT_PORT"):
        VectorService(service.port, tmp_path, tmp_path).start()


def test_a_second_server_on_the_same_directory_is_refused(own_service: VectorService, tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match="is used by a running vector server"):
        VectorService(0, tmp_path, tmp_path).start()
