"""Poison in bulk: on every topic, with good records among it, in any order."""

import json
import random
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deeplens.common.event import Event
from deeplens.duplicates.detect import found_events
from deeplens.duplicates.model import Evidence, Pair, in_order, pair_id
from deeplens.events.failures import DeadLetter, Failure, ProcessingFailed, SourceRecord
from deeplens.events.images import (
    ExtractionParams,
    FeatureExtractionRequested,
    ProcessingCompleted,
    VectorIndexingRequested,
)
from deeplens.events.maintenance import ImageMaintenance
from deeplens.events.notifications import TenantNotification
from deeplens.events.topics import TOPICS
from deeplens.events.usage import TenantUsage
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.images.model import Step, Tombstone
from deeplens.webhooks.model import Webhook
from deeplens.whatsapp.chats import Chat, reply_id
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.retries import message
from tests.harness.api import MODEL, START, picture
from tests.harness.films import RED, film
from tests.harness.flow import Flow, no_report

PAYLOADS = Path(__file__).resolve().parents[3] / "events" / "payloads"
CONSUMERS = {topic.name: topic.consumers for topic in TOPICS if topic.consumers}
LIVE = list(CONSUMERS)
GOOD, BAD = 12, 60
FILM = film((RED,), 0.5)
IDS = [f"img_{number}" for number in range(GOOD)]


def poison(topic: str, seed: int) -> list[bytes | None]:
    """What anyone could write to a topic: no event at all, another topic's, and good ones with one thing wrong."""
    golden: dict[str, Any] = json.loads((PAYLOADS / f"{topic}.json").read_text())
    rng, found = random.Random(seed), list[bytes | None]()
    others = [json.loads(path.read_text()) for path in sorted(PAYLOADS.glob("*.json")) if path.stem != topic]
    wrong: list[Any] = [None, 7, -1, "", "x" * 5000, [], {}, "\x00", "../../etc", True, 1e308]
    required = [name for name in golden if name not in ("metadata", "actions", "content", "status", "metrics")]
    for number in range(BAD):
        match number % 5:
            case 0:
                found.append(rng.choice([None, b"", b"\xff\xfe", b"[]", b"null", b"7", b'"text"', b"[" * 5000]))
            case 1:
                found.append(json.dumps({k: v for k, v in golden.items() if k != rng.choice(required)}).encode())
            case 2:
                found.append(json.dumps(golden).encode()[: rng.randrange(1, 40)])
            case 3:
                found.append(json.dumps(golden | {rng.choice(required): rng.choice(wrong)}).encode())
            case _:
                found.append(json.dumps(rng.choice(others)).encode())
    return found


def not_events_of(topic: str, values: list[bytes | None]) -> list[bytes | None]:
    """Those that do not parse; what does is an event, of a tenant that does not exist."""
    contract = next(one.contract for one in TOPICS if one.name == topic)
    bad = []
    for value in values:
        try:
            contract.model_validate_json(value or b"")
        except ValueError:
            bad.append(value)
    return bad


def extraction(flow: Flow, image_id: str) -> Event:
    store = flow.stores.for_tenant(flow.acme)
    store.put(f"processed/{image_id}.jpg", picture(1), "image/jpeg")
    return FeatureExtractionRequested(
        image_id=image_id,
        tenant_id=flow.acme.id,
        preprocessed_path=store.uri(f"processed/{image_id}.jpg"),
        extraction_params=ExtractionParams(model=MODEL.name, dimensions=MODEL.dimensions, model_version=MODEL.version),
        requested_at=START,
    )


def indexing(flow: Flow, image_id: str) -> Event:
    return VectorIndexingRequested(
        image_id=image_id,
        tenant_id=flow.acme.id,
        vectors=[0.5] * MODEL.dimensions,
        dimensions=MODEL.dimensions,
        extracted_at=START,
        model=MODEL.name,
        model_version=MODEL.version,
    )


def completed(flow: Flow, image_id: str) -> Event:
    return ProcessingCompleted(image_id=image_id, tenant_id=flow.acme.id, processing_time=1, completed_at=START)


def failed(flow: Flow, image_id: str) -> Event:
    return ProcessingFailed(
        image_id=image_id,
        tenant_id=flow.acme.id,
        error=Failure(code="IMAGE_CORRUPT", message="x", retryable=False),
        failed_at=START,
        attempt_number=1,
        stage="preprocess",
        source=SourceRecord(topic="deeplens.images.uploaded", partition=0, offset=int(image_id[4:]), value="e30="),
    )


def letter(flow: Flow, image_id: str) -> Event:
    return DeadLetter(
        dead_letter_id=f"dlq_{image_id}",
        error=Failure(code="X", message="x", retryable=False),
        attempt_number=1,
        failed_at=START,
    )


def deletion(flow: Flow, image_id: str) -> Event:
    flow.images.mark_deleted(flow.acme, image_id, START)
    return ImageMaintenance(maintenance_type="delete", image_id=image_id, tenant_id=flow.acme.id, requested_at=START)


def usage(flow: Flow, image_id: str) -> Event:
    return TenantUsage(tenant_id=flow.acme.id, metric="m", quantity=1, unit="images", occurred_at=START)


def notification(flow: Flow, image_id: str) -> Event:
    flow.webhooks.save(Webhook("whk_1", flow.acme.id, "https://acme.example/hook", ("image.completed",), START))
    return TenantNotification(tenant_id=flow.acme.id, type="image.completed", occurred_at=START, image_id=image_id)


def chat_message(flow: Flow, image_id: str) -> Event:
    flow.chats.link(Chat("491511234567@s.whatsapp.net", flow.acme.id, "", START))
    return WhatsAppMessage(
        message_id=f"wamid.{image_id}",
        chat_jid="491511234567@s.whatsapp.net",
        from_me=False,
        message_type="text",
        content="help",
        timestamp=int(START.timestamp()),
    )


def duplicates(flow: Flow, image_id: str) -> Event:
    """Each image is found to be a copy of the next one."""
    images = [flow.row(id_) for id_ in (image_id, IDS[(IDS.index(image_id) + 1) % GOOD])]
    first, second = in_order(*images)
    pair = Pair(pair_id(first.id, second.id), first.id, second.id, "exact", Evidence(True), "m 1", START)
    (event,) = found_events(flow.acme, flow.duplicates.save(flow.acme, [pair]))
    return event


def film_event(flow: Flow, image_id: str) -> Event:
    event = flow.accept_video(FILM, image_id.replace("img", "vid"))
    flow.records.pop("deeplens.videos.uploaded")
    flow.offsets.clear()
    assert event
    return event


MAKE: dict[str, Callable[[Flow, str], Event]] = {
    "deeplens.videos.uploaded": film_event,
    "deeplens.features.extraction": extraction,
    "deeplens.vectors.indexing": indexing,
    "deeplens.processing.completed": completed,
    "deeplens.processing.failed": failed,
    "deeplens.processing.deadletter": letter,
    "deeplens.images.maintenance": deletion,
    "deeplens.duplicates.found": duplicates,
    "deeplens.tenant.usage": usage,
    "deeplens.tenant.notifications": notification,
    "whatsapp-ready-messages": chat_message,
}
WORKED: dict[str, Callable[[Flow, str], bool]] = {
    "deeplens.videos.uploaded": lambda flow, image_id: flow.video(image_id.replace("img", "vid")).status == "completed",
    "deeplens.images.uploaded": lambda flow, image_id: flow.row(image_id).step is Step.COMPLETED,
    "deeplens.features.extraction": lambda flow, image_id: flow.row(image_id).step is Step.COMPLETED,
    "deeplens.vectors.indexing": lambda flow, image_id: flow.row(image_id).step is Step.COMPLETED,
    "deeplens.processing.completed": lambda flow, image_id: flow.row(image_id).step is Step.COMPLETED,
    "deeplens.processing.failed": lambda flow, image_id: flow.row(image_id).step is Step.FAILED,
    "deeplens.processing.deadletter": lambda flow, image_id: f"dlq_{image_id}" in flow.dead_letters.letters,
    "deeplens.images.maintenance": lambda flow, image_id: isinstance(flow.row(image_id), Tombstone),
    "deeplens.duplicates.found": lambda flow, _: (
        [len(group.members) for group in flow.duplicates.page(flow.acme, 10, None)] == [GOOD]
    ),
    "deeplens.tenant.usage": lambda flow, _: flow.usage.totals[flow.acme.id, "2026-11-20", "m"] == GOOD,
    "deeplens.tenant.notifications": lambda flow, image_id: any(
        json.loads(body)["data"]["imageId"] == image_id for _, _, body in flow.webhook_sender.sent
    ),
    "whatsapp-ready-messages": lambda flow, image_id: flow.replies.kept[reply_id(f"wamid.{image_id}")].state == "sent",
}


def mixed(flow: Flow, topic: str, seed: int, bad: list[bytes | None]) -> set[int]:
    """Put good and bad records onto the topic in a random order; returns the offsets of the bad ones."""
    for image_id in IDS:
        flow.accept(image_id)
    waiting = flow.records.pop("deeplens.images.uploaded")
    uploads = [json.loads(_decoded(record)) for record in waiting]
    flow.offsets.clear()
    good = (
        [json.dumps(value).encode() for value in uploads]
        if topic == "deeplens.images.uploaded"
        else [MAKE[topic](flow, image_id).to_wire() for image_id in IDS]
    )
    values = [(value, False) for value in good] + [(value, True) for value in bad]
    random.Random(seed).shuffle(values)
    for number, (value, _) in enumerate(values):
        flow.put(topic, value, f"e{number}")
    return {offset for offset, (_, is_bad) in enumerate(values) if is_bad}


def _decoded(record: dict[str, Any]) -> bytes:
    return b64decode(record["value"])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("topic", LIVE)
def test_poison_among_good_records_stops_none_of_them_and_is_all_kept(topic: str, seed: int) -> None:
    flow = Flow()
    bad = not_events_of(topic, poison(topic, seed))
    assert len(bad) > BAD / 2
    offsets = mixed(flow, topic, seed, bad)
    flow.deliver(topic)

    assert flow.handled[-1][1] == {"batchItemFailures": []}
    flow.run_with_retries()
    assert [image_id for image_id in IDS if not WORKED[topic](flow, image_id)] == []
    kept = [letter.source for letter in flow.dead_letters.letters.values() if letter.error_code != "IMAGE_CORRUPT"]
    # What was given up stands among the dead letters under the topic that it came from.
    own = [source for source in kept if source and (source.topic == topic or topic == "deeplens.processing.deadletter")]
    assert {source.offset for source in own} == offsets
    assert flow.retries.messages == {}


@pytest.mark.parametrize("topic", LIVE)
def test_events_of_tenants_that_never_were_fail_alone(topic: str) -> None:
    flow = Flow()
    golden = (PAYLOADS / f"{topic}.json").read_bytes()
    mixed(flow, topic, 1, [golden] * 20)
    flow.run_with_retries()

    assert [image_id for image_id in IDS if not WORKED[topic](flow, image_id)] == []
    assert flow.row("img_123456") is None


def test_poison_in_the_delay_queue_stops_no_retry() -> None:
    flow = Flow()
    values = poison("deeplens.processing.failed", 1)
    bodies = [(value or b"").decode(errors="replace") for value in values]
    flow.accept("img_1")
    record = {"topic": "deeplens.images.uploaded", "partition": 0, "offset": 0, "value": None, "eventId": "e1"}
    record["value"] = b64encode(_decoded(flow.records["deeplens.images.uploaded"].popleft())).decode()
    good = json.dumps({"record": record, "attemptNumber": 2, "due": START.isoformat()})
    messages = [message(body, str(number)) for number, body in enumerate([*bodies[:30], good, *bodies[30:]])]
    answer = flow.on_retry_due({"Records": messages}, no_report)
    flow.forward()
    flow.run()

    assert answer == {"batchItemFailures": []}
    assert flow.row("img_1").step is Step.COMPLETED
    assert len(flow.dead_letters.letters) == len(bodies)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=st.binary(max_size=300), topic=st.sampled_from(LIVE))
def test_whatever_bytes_a_record_holds_the_next_one_is_worked(value: bytes, topic: str) -> None:
    flow = Flow()
    flow.put(topic, value)
    flow.accept("img_1")
    flow.run()

    assert flow.row("img_1").step is Step.COMPLETED
    assert len(flow.dead_letters.letters) == len(CONSUMERS[topic])
    flow.workers.shutdown()
