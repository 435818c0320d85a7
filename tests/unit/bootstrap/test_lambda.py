"""The application behind Mangum, spoken to as API Gateway's HTTP API (payload 2.0) does."""

import base64
import json
from types import SimpleNamespace
from typing import Any

import httpx
from mangum import Mangum

from tests.harness.api import World, picture


def gateway_event(method: str, path: str, key: str, query: str = "", **request: Any) -> dict[str, Any]:
    """An event as API Gateway makes it: binary bodies in base64, header names in lower case."""
    built = httpx.Request(method, f"https://api.example{path}", **request)
    body = built.read()
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {**{name.lower(): value for name, value in built.headers.items()}, "x-api-key": key},
        "requestContext": {
            "http": {"method": method, "path": path, "sourceIp": "192.0.2.1", "protocol": "HTTP/1.1"},
            "requestId": "gw-1",
            "stage": "$default",
        },
        "body": base64.b64encode(body).decode() if body else None,
        "isBase64Encoded": bool(body),
    }


def invoke(world: World, *arguments: Any, **request: Any) -> dict[str, Any]:
    key = world.client.headers["X-API-Key"]
    handler = Mangum(
        world.app, lifespan="off", text_mime_types=["text/", "application/json", "application/problem+json"]
    )
    event = gateway_event(*arguments, key=key, **request)
    answer: dict[str, Any] = handler(event, SimpleNamespace(aws_request_id="lambda-1"))
    return answer


def test_a_binary_multipart_upload_goes_in_and_comes_out_unchanged(world: World) -> None:
    body = picture(format="PNG")

    accepted = invoke(world, "POST", "/v1/images", files={"file": ("a.png", body)}, data={"tags": ["sea", "dawn"]})
    path = accepted["headers"]["location"]
    content = invoke(world, "GET", f"{path}/content")

    assert accepted["statusCode"] == 202
    assert accepted["headers"]["x-request-id"] == "lambda-1"
    assert json.loads(accepted["body"])["sizeBytes"] == len(body)
    assert (content["isBase64Encoded"], base64.b64decode(content["body"])) == (True, body)
    assert json.loads(invoke(world, "GET", path)["body"])["tags"] == ["sea", "dawn"]


def test_repeated_query_parameters_survive_the_gateway(world: World) -> None:
    image_id = world.searchable(0, tags=["sea", "dawn"])
    world.searchable(1, tags=["sea"])

    answer = invoke(world, "GET", "/v1/images", query="tag=sea&tag=dawn")

    assert [image["imageId"] for image in json.loads(answer["body"])["images"]] == [image_id]


def test_problems_are_text_not_base64(world: World) -> None:
    answer = invoke(world, "GET", "/v1/images/img_nosuch")

    assert (answer["statusCode"], answer["isBase64Encoded"]) == (404, False)
    assert json.loads(answer["body"])["type"] == "/problems/image-not-found"


def test_a_query_image_searches_through_the_gateway(world: World) -> None:
    image_id = world.searchable(0)

    answer = invoke(world, "POST", "/v1/search/image", query="limit=1", files={"file": ("q.jpg", picture(0))})

    assert [found["imageId"] for found in json.loads(answer["body"])["results"]] == [image_id]
