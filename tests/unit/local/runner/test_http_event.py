"""HTTP requests become events of payload format 2.0, and results become responses."""

import base64
import json
from typing import Any

import pytest

from local.runner.http_event import match_path, match_route, request_event, response_of
from local.runner.template import HttpEvent
from local.runner.worker import Result

PNG = b"\x89PNG\r\n\x1a\n"


def scope(method: str = "GET", path: str = "/v1/images", query: str = "", headers: Any = ()) -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "scheme": "http",
        "http_version": "1.1",
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "client": ("10.1.2.3", 5000),
        "server": ("127.0.0.1", 8000),
    }


def event_of(body: bytes = b"", parameters: dict[str, str] | None = None, **request: Any) -> dict[str, Any]:
    route = HttpEvent("ANY", "/v1/{proxy+}")
    return request_event(scope(**request), body, route, parameters or {}, "127.0.0.1:8000")


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("$default", "/anything/at/all", {}),
        ("/v1/images", "/v1/images", {}),
        ("/v1/images", "/v1/images/1", None),
        ("/v1/images", "/v1", None),
        ("/v1/images/{id}", "/v1/images/img_1", {"id": "img_1"}),
        ("/v1/images/{id}", "/v1/images/a%20b", {"id": "a b"}),
        ("/v1/images/{id}", "/v1/images", None),
        ("/v1/images/{id}/file", "/v1/images/1/file", {"id": "1"}),
        ("/v1/{proxy+}", "/v1/a/b/c", {"proxy": "a/b/c"}),
        ("/v1/{proxy+}", "/v1", None),
        ("/v1/{tenant}/{proxy+}", "/v1/t/a/b", {"tenant": "t", "proxy": "a/b"}),
        ("/", "/", {}),
    ],
)
def test_paths_match_as_api_gateway_matches_them(pattern: str, path: str, expected: dict[str, str] | None) -> None:
    assert match_path(pattern, path) == expected


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/admin/tenants", HttpEvent("ANY", "/v1/admin/{proxy+}")),
        ("GET", "/v1/images", HttpEvent("ANY", "/v1/{proxy+}")),
        ("GET", "/v1/images/7", HttpEvent("GET", "/v1/images/{id}")),
        ("PUT", "/v1/images/7", HttpEvent("ANY", "/v1/images/{id}")),
        ("GET", "/v1/images/mine", HttpEvent("GET", "/v1/images/mine")),
        ("POST", "/elsewhere", HttpEvent("ANY", "$default")),
    ],
)
def test_the_most_specific_route_wins(method: str, path: str, expected: HttpEvent) -> None:
    routes = [
        HttpEvent("ANY", "$default"),
        HttpEvent("ANY", "/v1/{proxy+}"),
        HttpEvent("ANY", "/v1/admin/{proxy+}"),
        HttpEvent("ANY", "/v1/images/{id}"),
        HttpEvent("GET", "/v1/images/{id}"),
        HttpEvent("GET", "/v1/images/mine"),
    ]
    for order in (routes, routes[::-1]):
        chosen = match_route(order, method, path)
        assert chosen is not None
        assert chosen[0] == expected


def test_no_route_matches_another_method_or_path() -> None:
    assert match_route([HttpEvent("GET", "/v1/images")], "POST", "/v1/images") is None
    assert match_route([HttpEvent("GET", "/v1/images")], "GET", "/v2") is None


def test_a_request_has_all_of_payload_2_0() -> None:
    event = event_of(
        method="POST",
        path="/v1/a%20b",
        query="tag=x&tag=y&q=a+b&empty=",
        headers=[("Accept", "a"), ("accept", "b"), ("User-Agent", "curl"), ("Cookie", "k=1; l=2")],
        parameters={"proxy": "a b"},
    )
    context = event.pop("requestContext")
    assert event == {
        "version": "2.0",
        "routeKey": "ANY /v1/{proxy+}",
        "rawPath": "/v1/a b",
        "rawQueryString": "tag=x&tag=y&q=a+b&empty=",
        "cookies": ["k=1", "l=2"],
        "headers": {
            "accept": "a,b",
            "user-agent": "curl",
            "x-forwarded-for": "10.1.2.3",
            "x-forwarded-proto": "http",
            "x-forwarded-port": "8000",
        },
        "queryStringParameters": {"tag": "x,y", "q": "a b", "empty": ""},
        "pathParameters": {"proxy": "a b"},
        "isBase64Encoded": False,
    }
    assert context["routeKey"] == "ANY /v1/{proxy+}"
    assert context["stage"] == "$default"
    assert context["http"] == {
        "method": "POST",
        "path": "/v1/a b",
        "protocol": "HTTP/1.1",
        "sourceIp": "10.1.2.3",
        "userAgent": "curl",
    }
    json.dumps(event)


def test_the_client_is_added_to_the_proxies_before_it() -> None:
    event = event_of(headers=[("X-Forwarded-For", "1.1.1.1"), ("x-forwarded-proto", "https")])
    assert event["headers"]["x-forwarded-for"] == "1.1.1.1,10.1.2.3"
    assert event["headers"]["x-forwarded-proto"] == "http"


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("application/json; charset=utf-8", b'{"a": "\xc3\xa4"}', True),
        ("text/plain", b"hello", True),
        ("application/xml", b"<a/>", True),
        ("text/plain", b"\xff\xfe", False),
        ("image/png", PNG, False),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n" + PNG, False),
        ("application/x-www-form-urlencoded", b"a=1", False),
        ("application/octet-stream", b"ascii", False),
        ("", b"ascii", False),
    ],
)
def test_bodies_arrive_as_text_or_base64_by_their_type(content_type: str, body: bytes, text: bool) -> None:
    event = event_of(body, method="POST", headers=[("content-type", content_type)] if content_type else [])
    assert event["isBase64Encoded"] is not text
    assert event["body"] == (body.decode() if text else base64.b64encode(body).decode())


@pytest.mark.parametrize(
    ("payload", "status", "headers", "body"),
    [
        ({"statusCode": 201, "body": "{}"}, 201, [], b"{}"),
        ({"statusCode": "204"}, 204, [], b""),
        ({"statusCode": 200, "headers": {"X-A": 1, "Content-Length": "99"}, "body": "hi"}, 200, [("x-a", "1")], b"hi"),
        ({"statusCode": 200, "body": base64.b64encode(PNG).decode(), "isBase64Encoded": True}, 200, [], PNG),
        (
            {"statusCode": 200, "cookies": ["a=1; Path=/", "b=2"]},
            200,
            [("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2")],
            b"",
        ),
        ({"hello": "ä"}, 200, [("content-type", "application/json")], json.dumps({"hello": "ä"}).encode()),
        ("hello", 200, [("content-type", "application/json")], b"hello"),
    ],
)
def test_answers_become_http(payload: Any, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    response = response_of(Result(payload, None, 1))
    assert (response.status, response.body) == (status, body)
    assert [(name.decode(), value.decode()) for name, value in response.headers] == headers


@pytest.mark.parametrize(
    ("result", "status", "text"),
    [
        (Result(None, {"errorType": "ValueError", "errorMessage": "secret"}, 1), 500, "Internal Server Error"),
        (Result(None, {"errorType": "Sandbox.Timedout"}, 1), 500, "Internal Server Error"),
        (Result(None, {"errorType": "RequestEntityTooLargeException"}, 1), 413, "Request Entity Too Large"),
        (Result({"statusCode": "many"}, None, 1), 500, "Internal Server Error"),
        (Result({"statusCode": 200, "body": {"a": 1}}, None, 1), 500, "Internal Server Error"),
        (Result({"statusCode": 200, "body": "a", "isBase64Encoded": True}, None, 1), 500, "Internal Server Error"),
        (Result({"statusCode": 200, "headers": [1]}, None, 1), 500, "Internal Server Error"),
    ],
)
def test_failures_show_no_more_than_api_gateway_shows(result: Result, status: int, text: str) -> None:
    response = response_of(result)
    assert response.status == status
    assert json.loads(response.body) == {"message": text}
