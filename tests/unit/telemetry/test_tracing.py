"""Spans and what runs inside them; nothing where no tracer is configured."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from deeplens.common.stage import in_parallel
from deeplens.errors import ImageCorrupt
from deeplens.telemetry import tracing
from deeplens.telemetry.context import SpanContext
from deeplens.telemetry.conventions import ERROR_TYPE, IMAGE, SHARED, STAGE, TENANT, Kind
from deeplens.telemetry.tracing import NO_SPAN, Tracer

from tests.unit.telemetry.conftest import Recorded

A, B = SpanContext("a" * 32, "1" * 16, ((IMAGE, "img_a"),)), SpanContext("b" * 32, "2" * 16, ((IMAGE, "img_b"),))
EVENT_A, EVENT_B = SimpleNamespace(event_id="e1", image_id="img_a"), SimpleNamespace(event_id="e2", image_id="img_b")
KNOWN = {"e1": (A,), "img_a": (A,), "e2": (B,), "img_b": (B,), "tenant_t": (A, B)}


def test_without_a_tracer_nothing_is_recorded() -> None:
    with tracing.inside((A,)), tracing.span("call") as span:
        span.set({STAGE: "x"})
        span.fail("E")
    assert span is NO_SPAN
    assert NO_SPAN.attributes == {}
    assert tracing.parent(A.traceparent) is None


def test_outside_of_a_trace_a_call_is_no_span(recorded: Recorded) -> None:
    with tracing.span("call") as span:
        assert span is NO_SPAN
    tracing.flush()
    assert recorded.spans == []


def test_spans_are_below_those_that_run(recorded: Recorded) -> None:
    with tracing.inside((A,)), tracing.span("outer") as outer:
        assert tracing.traceparent() == outer.traceparent
        with tracing.span("inner"):
            pass
    tracing.flush()
    inner = recorded.one("inner")
    assert inner.parent_ids == (outer.contexts[0].span_id,)
    assert inner.contexts[0].trace_id == A.trace_id
    assert dict(inner.contexts[0].subject) == {IMAGE: "img_a"}
    assert outer.parent_ids == (A.span_id,)
    assert outer.started <= inner.started <= inner.ended <= outer.ended


def test_a_call_for_several_records_is_in_the_trace_of_each(recorded: Recorded) -> None:
    with tracing.inside((A, B)), tracing.span("infer"):
        assert tracing.traceparent() is None
    tracing.flush()
    call = recorded.one("infer")
    assert [context.trace_id for context in call.contexts] == [A.trace_id, B.trace_id]
    assert call.attributes[SHARED] == 2


@pytest.mark.parametrize(
    ("item", "traces"),
    [
        (EVENT_A, [A]),
        ((EVENT_B, "row"), [B]),
        (SimpleNamespace(event=EVENT_A), [A]),
        (SimpleNamespace(event_id="unknown", image_id="img_b"), [B]),
        (SimpleNamespace(tenant_id="tenant_t"), [A, B]),
        ("unknown", [A, B]),
    ],
    ids=str,
)
def test_a_call_about_a_record_is_only_in_its_trace(
    recorded: Recorded, item: object, traces: list[SpanContext]
) -> None:
    def call(_: object) -> None:
        with tracing.span("get"):
            pass

    with tracing.inside((A, B), KNOWN), ThreadPoolExecutor(1) as workers:
        in_parallel(workers, call, [item])
        with tracing.about(item):
            call(item)
    tracing.flush()
    expected = [context.trace_id for context in traces]
    assert [[c.trace_id for c in span.contexts] for span in recorded.spans] == [expected, expected]


def test_a_call_about_a_record_that_is_not_sampled_is_in_no_other_trace(recorded: Recorded) -> None:
    with tracing.inside((B,), {"e1": (), "img_a": (), "e2": (B,)}), tracing.about(EVENT_A), tracing.span("get"):
        pass
    tracing.flush()
    assert recorded.spans == []


def test_an_error_is_named_by_its_code_and_never_by_its_message(recorded: Recorded) -> None:
    for error in (ImageCorrupt("cat.jpg is broken"), ValueError("secret text")):
        with pytest.raises(type(error)), tracing.inside((A,)), tracing.span("call"):
            raise error
    tracing.flush()
    assert [span.attributes for span in recorded.spans] == [{ERROR_TYPE: "IMAGE_CORRUPT"}, {ERROR_TYPE: "ValueError"}]


def test_a_frame_begins_a_trace_that_is_linked_to_its_video(recorded: Recorded) -> None:
    frame = SimpleNamespace(tenant_id="tenant_t", image_id="img_f", video_id="vid_v")
    with tracing.inside((A,)):
        context = tracing.linked_root("frame", frame)
    tracing.flush()
    span = recorded.one("frame")
    assert (span.links, span.parent_ids, span.kind) == ([A], ("",), Kind.INTERNAL)
    assert context == span.traceparent
    assert span.contexts[0].trace_id != A.trace_id
    assert dict(span.contexts[0].subject)[TENANT] == "tenant_t"


def test_spans_above_the_limit_are_counted_and_dropped(monkeypatch: pytest.MonkeyPatch, recorded: Recorded) -> None:
    monkeypatch.setattr(tracing, "MAX_SPANS", 2)
    tracer = Tracer(recorded)
    for parents in ([A], [A, B], [A], [A]):
        tracer.end(tracing.begin("call", Kind.CLIENT, parents))
    assert tracer.dropped == 3
    tracer.flush()
    assert (len(recorded.spans), tracer.dropped) == (2, 0)
    tracer.end(tracing.begin("call", Kind.CLIENT, [A, B]))
    assert tracer.dropped == 0
