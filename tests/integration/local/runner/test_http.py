"""The HTTP gateway serves functions to clients as API Gateway does."""

import base64
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from local.runner import http_gateway
from local.runner.http_gateway import HttpGateway, Route
from local.runner.template import HttpEvent, load
from local.runner.worker import Pool
from local.services.process import free_port
from tests.integration.local.runner.conftest import ENVIRONMENT, HERE, eventually


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Pool]]:
    template = load(HERE / "template.yaml", {}, {})
    logs = tmp_path_factory.mktemp("logs")
    pools = {name: Pool(template.function(name), ENVIRONMENT, logs, 2) for name in ("web", "files")}
    yield pools
    for pool in pools.values():
        pool.stop()


@pytest.fixture(scope="module")
def url(pools: dict[str, Pool]) -> Iterator[str]:
    routes = [
        Route(event, pool) for pool in pools.values() for event in pool.spec.events if isinstance(event, HttpEvent)
    ]
    port = free_port()
    gateway = HttpGateway(routes, "127.0.0.1", [port])
    gateway.start()
    yield f"http://127.0.0.1:{port}"
    gateway.stop()


def test_a_request_reaches_the_function_and_its_answer_the_client(url: str) -> None:
    response = httpx.post(f"{url}/v1/images?tag=a&tag=b", json={"a": "ä"}, headers={"X-Thing": "1"}, cookies={"k": "v"})
    event = response.json()
    assert (response.status_code, response.headers["x-function"]) == (201, "web")
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert (event["routeKey"], event["rawPath"], event["version"]) == ("ANY /v1/{proxy+}", "/v1/images", "2.0")
    assert event["queryStringParameters"] == {"tag": "a,b"}
    assert event["pathParameters"] == {"proxy": "images"}
    assert (event["body"], event["isBase64Encoded"]) == ('{"a":"ä"}', False)
    assert (event["headers"]["x-thing"], event["cookies"]) == ("1", ["k=v"])


def test_binary_bodies_arrive_and_return_unchanged(url: str) -> None:
    content = bytes(range(256)) * 100
    response = httpx.post(f"{url}/v1/bytes", content=content, headers={"content-type": "image/png"})
    assert response.content == content[::-1]


def test_multipart_uploads_arrive_in_base64(url: str) -> None:
    event = httpx.post(f"{url}/v1/images", files={"file": ("a.png", b"\x89PNG\xff")}).json()
    assert event["isBase64Encoded"] is True
    assert b"\x89PNG\xff" in base64.b64decode(event["body"])


def test_the_longer_path_wins_and_other_methods_fall_through(url: str) -> None:
    assert httpx.get(f"{url}/v1/files/a/b").json() == {"function": "files", "path": {"proxy": "a/b"}}
    assert httpx.put(f"{url}/v1/files/a").headers["x-function"] == "web"


@pytest.mark.parametrize(
    ("method", "path", "size", "status", "message"),
    [
        ("GET", "/v2/images", 0, 404, "Not Found"),
        ("GET", "/v1/fail", 0, 500, "Internal Server Error"),
        ("POST", "/v1/images", 11 << 20, 413, "Request Entity Too Large"),
        ("POST", "/v1/images", 5 << 20, 413, "Request Entity Too Large"),
    ],
)
def test_the_gateways_own_answers(url: str, method: str, path: str, size: int, status: int, message: str) -> None:
    response = httpx.request(method, url + path, content=b"\xff" * size, headers={"content-type": "image/png"})
    assert (response.status_code, response.json()) == (status, {"message": message})


def test_text_of_five_megabytes_passes_because_it_needs_no_base64(url: str) -> None:
    response = httpx.post(f"{url}/v1/images", content=b"x" * (5 << 20), headers={"content-type": "text/plain"})
    assert response.status_code == 201


def test_a_head_request_has_no_body(url: str) -> None:
    response = httpx.head(f"{url}/v1/images")
    assert (response.status_code, response.content) == (201, b"")


def test_a_function_slower_than_the_gateways_limit_is_unavailable(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_gateway, "TIMEOUT_SECONDS", 0.2)
    response = httpx.get(f"{url}/v1/slow")
    assert (response.status_code, response.json()) == (503, {"message": "Service Unavailable"})


def test_requests_run_side_by_side(url: str, pools: dict[str, Pool]) -> None:
    with ThreadPoolExecutor(2) as clients:
        started = time.monotonic()
        answers = list(clients.map(lambda _: httpx.get(f"{url}/v1/slow", timeout=20).status_code, range(2)))
    assert answers == [201, 201]
    assert len(pools["web"].pids) == 2
    assert time.monotonic() - started < 5


def test_an_incomplete_upload_does_not_reach_the_function(url: str, pools: dict[str, Pool]) -> None:
    eventually(lambda: pools["web"].in_flight == 0)
    before = pools["web"].invocations
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /v1/images HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
    httpx.get(f"{url}/v1/files/a")
    assert httpx.get(f"{url}/v1/images").status_code == 201
    assert pools["web"].invocations == before + 1


def test_stop_waits_for_a_request_in_flight(pools: dict[str, Pool], tmp_path: Path) -> None:
    port = free_port()
    gateway = HttpGateway([Route(HttpEvent("ANY", "$default"), pools["web"])], "127.0.0.1", [port])
    gateway.start()
    statuses: list[int] = []
    client = threading.Thread(target=lambda: statuses.append(httpx.get(f"http://127.0.0.1:{port}/v1/slow").status_code))
    client.start()
    eventually(lambda: pools["web"].in_flight == 1)
    gateway.stop(3)
    client.join(5)
    assert statuses == [201]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/")
