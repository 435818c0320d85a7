"""Log lines are JSON that names trace, tenant, image and request, and shows no secret."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from deeplens.common.stage import Done, Failed, Waiting
from deeplens.errors import DatabaseUnavailable, ImageCorrupt
from deeplens.kafka.publisher import KafkaPublisher
from deeplens.telemetry import tracing
from deeplens.telemetry.context import SpanContext
from deeplens.telemetry.conventions import IMAGE, TENANT
from deeplens.telemetry.logs import lines_about, logger
from deeplens.telemetry.redaction import REDACTED, redacted

from tests.harness.api import World, picture
from tests.unit.telemetry.conftest import Recorded
from tests.unit.telemetry.test_flow import TRACES, Stage, invoke, publisher

__all__ = ["publisher"]
A = SpanContext("a" * 32, "1" * 16, ((TENANT, "tenant_a"), (IMAGE, "img_a")))
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl"

type Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """The lines that are logged meanwhile."""
    text = StringIO()
    monkeypatch.setattr(logger().registered_handler, "stream", text)
    return lambda: [json.loads(line) for line in text.getvalue().splitlines()]


def test_a_line_names_the_span_that_runs_and_whom_it_is_about(recorded: Recorded, lines: Lines) -> None:
    with tracing.inside((A,)), tracing.span("call") as span:
        logger().info("inside")
    with tracing.inside((A, SpanContext("b" * 32, "2" * 16))):
        logger().info("of several")
    inside, of_several = lines()
    about = {"trace_id": "a" * 32, "span_id": span.contexts[0].span_id, "tenant_id": "tenant_a", "image_id": "img_a"}
    assert inside | about == inside
    assert "trace_id" not in of_several
    assert "image_id" not in of_several


def test_a_line_s_own_fields_prevail_and_end_with_their_block(lines: Lines) -> None:
    with lines_about(tenant_id="tenant_a", image_id=None):
        logger().info("first", tenant_id="tenant_b")
    logger().info("second")
    first, second = lines()
    assert first["tenant_id"] == "tenant_b"
    assert "image_id" not in first
    assert "tenant_id" not in second


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (Failed(ImageCorrupt("x")), "record failed"),
        (Waiting(DatabaseUnavailable("x")), "record waits"),
        (Done(dropped="deleted"), "record dropped"),
    ],
    ids=str,
)
@pytest.mark.parametrize("with_spans", [False, True])
def test_a_record_s_line_names_its_image_and_trace(
    request: pytest.FixtureRequest,
    publisher: KafkaPublisher,
    lines: Lines,
    outcome: Any,
    message: str,
    with_spans: bool,
) -> None:
    recorded: Recorded | None = request.getfixturevalue("recorded") if with_spans else None
    invoke(Stage(lambda _: outcome), publisher)
    (line,) = [line for line in lines() if line["message"] == message]
    assert (line["stage"], line["tenant_id"], line["image_id"]) == ("preprocess", "tenant_acme", "img_0")
    assert (line["topic"], line["partition"], line["offset"]) == ("deeplens.images.uploaded", 2, 40)
    assert line["trace_id"] == TRACES[0][3:35]
    span = recorded.one("process deeplens.images.uploaded").contexts[0].span_id if recorded else None
    assert line.get("span_id") == span


def test_a_record_that_was_processed_has_no_line(publisher: KafkaPublisher, lines: Lines) -> None:
    invoke(Stage(lambda _: Done()), publisher)
    assert lines() == []


@pytest.mark.parametrize("path", ["/v1/images", "/v1/nothing/secret.jpg"])
def test_a_request_has_one_line(lines: Lines, path: str) -> None:
    world = World()
    answer = world.client.post(path, files={"file": picture()}, headers={"traceparent": TRACES[0]})
    (line,) = [line for line in lines() if line["message"] == "request"]
    assert (line["method"], line["status"]) == ("POST", answer.status_code)
    assert line["trace_id"] == TRACES[0][3:35]
    assert line["request_id"] == answer.headers["X-Request-Id"]
    assert line.get("route") == ("/v1/images" if answer.status_code == 202 else None)
    assert "secret" not in json.dumps(lines())


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"key dl_0123456789ab_{'f' * 48} is unknown", "f" * 48),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKY"),
        (f"token {JWT} expired", "eyJ"),
        (f"Authorization: Bearer {'t0k3n' * 4}", "t0k3n"),
        ("authorization: basic dXNlcjpzZWNyZXQ=", "dXNlcjpzZWNyZXQ"),
        ("connection to postgresql://deeplens:hunter2@db/x failed", "hunter2"),
        ("GET https://b.s3.amazonaws.com/k?X-Amz-Date=1&X-Amz-Signature=abcdef0123", "abcdef0123"),
        ("GET /_objects/b/k?expires=1&signature=abcdef0123", "abcdef0123"),
        ("https://acme.blob.core.windows.net/c?sv=1&sig=abc%2Bdef", "abc%2Bdef"),
        ("password=hunter2 host=db", "hunter2"),
        ('{"accessToken": "x", "client_secret": "hunter2"}', "hunter2"),
        ("{'api_key': 'hunter2'}", "hunter2"),
        ("Key (email)=(ada@example.test) already exists.", "ada@"),
        ("Key (lower(email))=(ada@example.test) already exists.", "ada@"),
    ],
)
def test_secrets_do_not_reach_a_line(lines: Lines, text: str, secret: str) -> None:
    assert secret not in redacted(text)
    try:
        raise ValueError(text)
    except ValueError:
        logger().exception("failed", reason=text)
    (line,) = lines()
    assert secret not in json.dumps(line)
    assert REDACTED in line["reason"]


@pytest.mark.parametrize(
    "text",
    [
        "img_01kd1v8q of tenant_acme waits for the token endpoint",
        "https://b.s3.amazonaws.com/images/img_1.jpg?X-Amz-Date=1",
        "postgresql://db/x",
        "OBJECT_NOT_FOUND: images/img_1.jpg",
        "dl_0123456789ab",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text
