"""Jaeger itself takes the spans of a stack, and its query API gives the one trace of an image."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from deeplens.access.scopes import ADMIN
from deeplens.errors import TracesUnavailable
from deeplens.telemetry.context import SpanContext
from deeplens.telemetry.conventions import ERROR_TYPE, IMAGE, OFFSET, QUEUE_MS, TENANT, TOMBSTONE, Kind
from deeplens.telemetry.otlp import OtlpExporter
from deeplens.telemetry.tracing import Span
from deeplens.traces.jaeger import JaegerTraces
from deeplens.traces.model import KeptSpan

from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, disconnect, eventually, new_client, picture, running_stack
from tests.e2e.test_traces import HOPS, missing
from tests.harness.cli import deeplens
from tests.harness.jaeger import JaegerService, serving_jaeger

pytestmark = pytest.mark.long
TENANT_ID = "tenant_jaeger"


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JaegerService]:
    with serving_jaeger(tmp_path_factory.mktemp("jaeger")) as running:
        yield running


@pytest.fixture(scope="module")
def own_stack(jaeger: JaegerService) -> Iterator[Stack]:
    # A busy machine answers late; a span that is dropped here would fail the test for nothing.
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.otlp_url,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "5000",
        "DEEPLENS_JAEGER_URL": jaeger.query_url,
    }
    with running_stack(**variables) as running:
        yield running


def test_the_trace_of_an_image_comes_from_jaegers_query_api(
    own_stack: Stack, jaeger: JaegerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = own_stack.container()
    try:
        client, key = new_client(own_stack, parts, TENANT_ID, "nfs"), parts.api_keys.create(None, "operator", (ADMIN,))
        monkeypatch.setenv("DEEPLENS_STATE_DIR", str(own_stack.state_dir))
        monkeypatch.setenv("DEEPLENS_JAEGER_URL", jaeger.query_url)
        _check_trace(own_stack, client, key)
    finally:
        disconnect(parts)


def _check_trace(stack: Stack, client: TenantClient, key: str) -> None:
    image_id = client.completed(picture(7900))
    # No webhook is registered here, so nothing is notified.
    expected = {hop for hop in HOPS if "notification" not in " ".join(hop)}

    def shown() -> list[dict[str, Any]]:
        ended = deeplens("trace", image_id, "--json")
        return list(json.loads(ended.output)["spans"]) if ended.exit_code == 0 else []

    eventually(lambda: missing(shown(), expected), lambda left: not left)
    spans = shown()
    assert len({span["traceId"] for span in spans}) == 1
    assert [span["name"] for span in spans if span["parentId"] is None] == ["POST /v1/images"]
    address = f"{stack.api_url}/v1/admin/tenants/{TENANT_ID}/images/{image_id}/trace"
    answer = httpx.get(address, headers={"X-API-Key": key}, timeout=60, trust_env=False)
    assert {span["spanId"] for span in answer.json()["spans"]} <= {span["spanId"] for span in spans}
    assert ("on_indexing_requested", "qdrant PUT points") in {
        (span["function"], span["name"]) for span in answer.json()["spans"]
    }


def test_a_span_comes_back_as_it_was(jaeger: JaegerService) -> None:
    context, linked = SpanContext("c" * 32, "1" * 16, ((TENANT, "tenant_a"), (IMAGE, "img_a"))), "d" * 32
    now = time.time_ns() // 1000 * 1000
    attributes = {OFFSET: 41, TOMBSTONE: True, QUEUE_MS: 1.5, ERROR_TYPE: "IMAGE_CORRUPT"}
    links = [SpanContext(linked, "2" * 16)]
    sent = Span("process t", Kind.CONSUMER, (context,), ("",), attributes, links, now, now + 5_000_000)
    export = OtlpExporter(jaeger.otlp_url, {"service.name": "deeplens", "faas.name": "on_x"}, 5)
    export([sent])
    assert export.dropped == 0

    traces = JaegerTraces(jaeger.query_url)
    (found,) = eventually(lambda: traces.of_image("img_a"))
    described = {**attributes, TENANT: "tenant_a", IMAGE: "img_a"}
    assert found == KeptSpan(
        "c" * 32,
        "1" * 16,
        None,
        "process t",
        "consumer",
        "on_x",
        now,
        now + 5_000_000,
        described,
        ((linked, "2" * 16),),
    )
    assert traces.of_trace("c" * 32) == [found]
    assert traces.of_trace("e" * 32) == traces.of_image("img_none") == []


def test_a_jaeger_that_is_gone_is_an_unavailable_dependency(jaeger: JaegerService) -> None:
    with pytest.raises(TracesUnavailable):
        JaegerTraces(jaeger.otlp_url.rpartition(":")[0] + ":9").of_image("img_a")
