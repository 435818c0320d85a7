"""Spans of requests, invocations and what they send, through the real handler, middleware and publisher."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from deeplens.common.event import Event
from deeplens.common.outgoing import OutgoingMessage
from deeplens.common.stage import Done, Failed, Outcome, Waiting
from deeplens.errors import DatabaseUnavailable, ImageCorrupt
from deeplens.events.failures import Retry, SourceRecord
from deeplens.events.images import FeatureExtractionRequested, ImageUploaded
from deeplens.events.usage import TenantUsage
from deeplens.events.videos import VideoUploaded
from deeplens.failures.send_again import SendAgain
from deeplens.images.requests import extraction_request
from deeplens.kafka import publisher as module
from deeplens.kafka.handler import BatchHandler
from deeplens.kafka.publisher import KafkaPublisher
from deeplens.kafka.report import report
from deeplens.kafka.spans import begins_trace
from deeplens.settings import Settings
from deeplens.telemetry import conventions as names
from deeplens.telemetry import tracing
from deeplens.telemetry.context import SpanContext, parse_traceparent
from deeplens.telemetry.conventions import Kind

from tests.harness.api import START, TickingClock, World, picture, tenant
from tests.unit.kafka.test_publisher import ScriptedProducer
from tests.unit.telemetry.conftest import Recorded

TRACES = [f"00-{letter * 32}-{letter * 16}-01" for letter in "abc"]
ACME = tenant("tenant_acme")


def uploaded(number: int) -> ImageUploaded:
    return ImageUploaded(
        image_id=f"img_{number}",
        tenant_id="tenant_acme",
        file_name="secret holiday.jpg",
        storage_path=f"s3://b/images/{number}.jpg",
        mime_type="image/jpeg",
        size_bytes=1,
        uploaded_at=START,
    )


def follow_up(event: Event) -> FeatureExtractionRequested:
    return extraction_request(ACME, getattr(event, "image_id", ""), None, ACME.model, START)


class Stage:
    """Runs ``work`` on each event, in a span as an adapter's, and returns its outcome."""

    name, consumes = "preprocess", ImageUploaded

    def __init__(self, work: Callable[[Event], Outcome]) -> None:
        self._work = work

    def __call__(self, batch: Sequence[Event]) -> list[Outcome]:
        with tracing.span("inference embeddings"):
            return [self._work(event) for event in batch]


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> KafkaPublisher:
    monkeypatch.setattr(module, "Producer", ScriptedProducer)
    return KafkaPublisher(Settings(kafka_brokers="127.0.0.1:9"))


def sent(publisher: KafkaPublisher) -> list[tuple[str, str]]:
    """Topic and traceparent of each record on the broker."""
    records: list[dict[str, Any]] = publisher._producer.sent
    return [(record["topic"], dict(record["headers"]).get("traceparent", b"").decode()) for record in records]


def invoke(stage: Any, publisher: KafkaPublisher, traces: Sequence[str | None] = TRACES[:1]) -> None:
    records = [
        {
            "topic": "deeplens.images.uploaded",
            "partition": 2,
            "offset": 40 + number,
            "value": b64encode(uploaded(number).to_wire()).decode(),
            "headers": [{"traceparent": list(trace.encode())}] if trace else [],
        }
        for number, trace in enumerate(traces)
    ]
    event = {"records": {"deeplens.images.uploaded-2": records}}
    BatchHandler(stage, publisher, TickingClock(), group="deeplens-on-image-uploaded")(event, report)


def test_a_record_goes_on_in_its_own_trace_and_its_batch_links_to_it(
    recorded: Recorded, publisher: KafkaPublisher
) -> None:
    invoke(Stage(lambda event: Done((follow_up(event),))), publisher, TRACES[:2])

    batch, records = (
        recorded.one("receive deeplens.images.uploaded"),
        recorded.named("process deeplens.images.uploaded"),
    )
    assert batch.kind is Kind.CONSUMER
    assert [link.traceparent for link in batch.links] == TRACES[:2]
    assert batch.attributes | {names.BATCH_COUNT: 2, names.SYSTEM: "kafka", names.OPERATION_TYPE: "receive"} == (
        batch.attributes
    )
    assert batch.attributes[names.GROUP] == "deeplens-on-image-uploaded"
    for number, span in enumerate(records):
        parent = parse_traceparent(TRACES[number])
        assert parent is not None
        assert (span.contexts[0].trace_id, span.parent_ids) == (parent[0].trace_id, (parent[0].span_id,))
        assert span.links == list(batch.contexts)
        assert span.attributes[names.PARTITION] == "2"
        assert span.attributes[names.OFFSET] == 40 + number
        assert span.attributes[names.GROUP] == "deeplens-on-image-uploaded"
        assert span.attributes[names.OUTCOME] == "done"
        assert dict(span.contexts[0].subject) == {names.TENANT: "tenant_acme", names.IMAGE: f"img_{number}"}
    call = recorded.one("inference embeddings")
    assert call.parent_ids == tuple(span.contexts[0].span_id for span in records)

    sending = recorded.named("send deeplens.features.extraction")
    assert [span.parent_ids[0] for span in sending] == [span.contexts[0].span_id for span in records]
    assert sent(publisher) == [("deeplens.features.extraction", span.traceparent) for span in sending]


@pytest.mark.parametrize(
    ("outcome", "attributes"),
    [
        (Done(dropped="deleted"), {names.OUTCOME: "dropped"}),
        (Failed(ImageCorrupt("secret")), {names.OUTCOME: "failed", names.ERROR_TYPE: "IMAGE_CORRUPT"}),
        (Waiting(DatabaseUnavailable("x")), {names.OUTCOME: "waiting", names.ERROR_TYPE: "DatabaseUnavailable"}),
    ],
    ids=str,
)
def test_a_record_s_span_says_what_became_of_it(
    recorded: Recorded, publisher: KafkaPublisher, outcome: Outcome, attributes: dict[str, str]
) -> None:
    invoke(Stage(lambda _: outcome), publisher)
    span = recorded.one("process deeplens.images.uploaded")
    assert span.attributes | attributes == span.attributes
    if isinstance(outcome, Failed):
        assert recorded.one("send deeplens.processing.failed").parent_ids == (span.contexts[0].span_id,)


def test_what_is_not_sampled_is_passed_on_unchanged(recorded: Recorded, publisher: KafkaPublisher) -> None:
    unsampled = TRACES[0][:-1] + "0"
    invoke(Stage(lambda event: Done((follow_up(event),))), publisher, [unsampled])
    assert {span.name for span in recorded.spans} == {"receive deeplens.images.uploaded"}
    assert sent(publisher) == [("deeplens.features.extraction", unsampled)]


def test_no_span_shows_what_a_tenant_wrote(recorded: Recorded, publisher: KafkaPublisher) -> None:
    invoke(Stage(lambda _: Failed(ImageCorrupt("secret holiday.jpg is broken"))), publisher)
    assert "secret" not in str(recorded.spans)


def test_an_image_that_was_kept_goes_on_in_its_own_trace(recorded: Recorded, publisher: KafkaPublisher) -> None:
    released = replace_trace(uploaded(9), TRACES[2])
    invoke(Stage(lambda _: Done((released,))), publisher)
    ((_, traceparent),) = sent(publisher)
    span = recorded.one("send deeplens.images.uploaded")
    assert traceparent == span.traceparent
    assert span.contexts[0].trace_id == "c" * 32
    assert [link.trace_id for link in span.links] == ["a" * 32]


def replace_trace(event: ImageUploaded, traceparent: str) -> ImageUploaded:
    return event.model_copy(update={"traceparent": traceparent, "event_id": "own"})


def usage(image_id: str | None) -> TenantUsage:
    return TenantUsage(tenant_id="tenant_acme", metric="m", quantity=1, unit="u", occurred_at=START, image_id=image_id)


VIDEO = VideoUploaded(
    video_id="vid_1",
    tenant_id="tenant_acme",
    file_name="v.mp4",
    storage_path="s3://b/v.mp4",
    mime_type="video/mp4",
    size_bytes=1,
    duration=1,
    uploaded_at=START,
)


@pytest.mark.parametrize(
    ("event", "source", "together", "own_trace"),
    [
        (follow_up(uploaded(1)), uploaded(1), [], False),
        (usage("img_1"), uploaded(1), [], False),
        (usage(None), uploaded(1), [], False),
        (uploaded(2), uploaded(1), [], True),
        (uploaded(2), VIDEO, [uploaded(2), uploaded(3)], True),
        (uploaded(2), VIDEO, [uploaded(2), usage(None)], False),
        (uploaded(2), None, [uploaded(2)], False),
    ],
)
def test_one_image_is_one_trace(event: Event, source: Event | None, together: list[Event], own_trace: bool) -> None:
    assert begins_trace(event, source, together) is own_trace


def test_a_record_that_is_sent_again_is_linked_to_its_first_try(recorded: Recorded, publisher: KafkaPublisher) -> None:
    source = SourceRecord(
        topic="deeplens.images.uploaded", partition=0, offset=1, value="e30=", event_id="e", traceparent=TRACES[0]
    )
    clock = TickingClock()
    retry = Retry(record=source, attempt_number=2, due=clock.now(), tenant_id="tenant_acme", image_id="img_1")
    message = {"messageId": "m", "eventSourceARN": "arn:aws:sqs:r:0:RetryQueue", "body": retry.to_wire().decode()}
    BatchHandler(SendAgain(publisher, None, clock), publisher, clock)({"Records": [message]}, lambda *_: None)  # type: ignore[arg-type]

    process, sending = recorded.one("process RetryQueue"), recorded.one("send deeplens.images.uploaded")
    assert process.contexts[0].trace_id == sending.contexts[0].trace_id == "a" * 32
    assert [link.traceparent for link in sending.links] == [TRACES[0]]
    assert sending.attributes[names.ATTEMPT] == 2
    assert dict(sending.contexts[0].subject)[names.IMAGE] == "img_1"
    assert sent(publisher) == [("deeplens.images.uploaded", sending.traceparent)]


def test_without_a_tracer_headers_stay_as_they_were(publisher: KafkaPublisher) -> None:
    invoke(Stage(lambda event: Done((follow_up(event), uploaded(9)))), publisher)
    assert [traceparent for _, traceparent in sent(publisher)] == [TRACES[0], TRACES[0]]


def test_a_record_that_was_not_delivered_is_an_error(recorded: Recorded, publisher: KafkaPublisher) -> None:
    event = usage("img_1")
    publisher._producer.lost.add(event.to_wire())  # type: ignore[attr-defined]
    assert publisher.publish([OutgoingMessage(event, "e")]) == [False]
    tracing.flush()
    assert recorded.one("send deeplens.tenant.usage").attributes[names.ERROR_TYPE] == "undelivered"


@pytest.mark.parametrize("header", [TRACES[0], "garbage", None])
def test_a_request_is_a_server_span_whose_events_continue_it(recorded: Recorded, header: str | None) -> None:
    world = World()
    headers = {"traceparent": header} if header else {}
    answer = world.client.post("/v1/images", files={"file": picture()}, headers=headers)
    assert answer.status_code == 202

    span = recorded.one("POST /v1/images")
    assert (span.kind, span.attributes[names.HTTP_STATUS], span.attributes[names.TENANT]) == (
        Kind.SERVER,
        202,
        world.acme.id,
    )
    assert (span.contexts[0].trace_id == "a" * 32) == (header == TRACES[0])
    assert [message.traceparent for message in world.publisher.sent] == [span.traceparent]


def test_paths_and_methods_that_clients_make_up_are_not_shown(recorded: Recorded) -> None:
    world = World()
    world.client.request("SECRET", "/v1/secret.jpg")
    (span,) = recorded.spans
    assert (span.name, span.attributes[names.HTTP_ROUTE], span.attributes[names.HTTP_STATUS]) == ("_OTHER", None, 404)


def test_a_request_that_is_not_sampled_is_no_span(recorded: Recorded) -> None:
    world = World()
    unsampled = TRACES[0][:-1] + "0"
    world.client.post("/v1/images", files={"file": picture()}, headers={"traceparent": unsampled})
    assert recorded.spans == []
    assert [message.traceparent for message in world.publisher.sent] == [unsampled]


def test_contexts_of_spans_are_w3c() -> None:
    context = SpanContext("a" * 32, "b" * 16)
    assert parse_traceparent(context.traceparent) == (replace(context, subject=()), True)
