"""Kept spans: their tree, Jaeger's form of them, and the route that shows a tenant its own alone."""

from typing import Any

import pytest
from deeplens.errors import TracesUnavailable
from deeplens.telemetry.conventions import ERROR_TYPE, IMAGE, OFFSET, TENANT
from deeplens.traces.jaeger import JaegerTraces, document_of, spans_of
from deeplens.traces.model import KeptSpan, depths, of_tenant

from tests.fakes.traces import FakeTraces
from tests.harness.api import World

TRACE = "a" * 32


def span(number: int, parent: int | None = None, tenant_id: str = "tenant_acme", **changes: Any) -> KeptSpan:
    fields: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": f"{number:016x}",
        "parent_id": None if parent is None else f"{parent:016x}",
        "name": f"span {number}",
        "kind": "client",
        "function": "SearchApi",
        "started_ns": 1_000_000_000 + number * 1_000_000,
        "ended_ns": 1_000_000_000 + (number + 5) * 1_000_000,
        "attributes": {TENANT: tenant_id, IMAGE: "img_1"},
    }
    return KeptSpan(**fields | changes)


@pytest.mark.parametrize(
    ("spans", "tree"),
    [
        ([], []),
        ([span(2, 1), span(1)], [(0, 1), (1, 2)]),
        ([span(1), span(2, 1), span(3, 2), span(4, 1), span(5)], [(0, 1), (1, 2), (2, 3), (1, 4), (0, 5)]),
        ([span(2, 9), span(1)], [(0, 1), (0, 2)]),
        ([span(1), span(1)], [(0, 1)]),
    ],
)
def test_spans_stand_below_their_parents_by_start(spans: list[KeptSpan], tree: list[tuple[int, int]]) -> None:
    assert [(depth, int(found.span_id, 16)) for depth, found in depths(spans)] == tree


def test_a_tenant_sees_only_its_own_spans_of_a_shared_trace() -> None:
    spans = [span(1, attributes={}), span(2, 1), span(3, 2, "tenant_other"), span(4, 3)]
    assert [(own.span_id[-1], own.parent_id) for own in of_tenant(spans, "tenant_acme")] == [("2", None), ("4", None)]


def test_spans_survive_jaegers_form() -> None:
    kept = [
        span(1, attributes={TENANT: "tenant_acme", OFFSET: 7, ERROR_TYPE: "E"}, links=(("b" * 32, "c" * 16),)),
        span(2, 1, function="OnImageUploaded", kind="consumer"),
    ]
    document = document_of(kept)
    assert spans_of(document) == kept
    document["data"][0]["spans"][0]["tags"] += [
        {"key": "otel.status_code", "type": "string", "value": "ERROR"},
        {"key": "url.full", "type": "string", "value": "https://client.test/secret"},
    ]
    assert spans_of(document) == kept
    assert kept[0].error == "E"


PATH = "/v1/admin/tenants/{}/images/{}/trace"


@pytest.mark.parametrize(
    ("tenant_id", "image_id", "status", "shown"),
    [
        ("tenant_acme", "img_1", 200, ["span 1", "span 2"]),
        ("tenant_other", "img_1", 200, ["span 3"]),
        ("tenant_acme", "img_2", 404, None),
        ("tenant_nobody", "img_1", 404, None),
    ],
)
def test_the_admin_api_shows_a_tenants_spans_of_an_image(
    world: World, tenant_id: str, image_id: str, status: int, shown: list[str] | None
) -> None:
    world.traces = FakeTraces(span(1), span(2, 1), span(3, 1, "tenant_other"))
    answer = world.operator().get(PATH.format(tenant_id, image_id))
    assert answer.status_code == status
    if shown:
        assert [view["name"] for view in answer.json()["spans"]] == shown
        assert answer.json()["spans"][0]["durationMs"] == 5


def test_an_administrator_reaches_no_other_tenants_traces(world: World) -> None:
    world.traces = FakeTraces(span(1), span(3, 1, "tenant_other"))
    own = world.administrator("tenant_acme")
    assert own.get(PATH.format("tenant_acme", "img_1")).status_code == 200
    assert own.get(PATH.format("tenant_other", "img_1")).status_code == 404


def test_without_a_store_there_are_no_traces_and_without_an_answer_none_are_known(socket_enabled: None) -> None:
    assert JaegerTraces("").of_image("img_1") == []
    with pytest.raises(TracesUnavailable):
        JaegerTraces("http://127.0.0.1:9").of_image("img_1")
