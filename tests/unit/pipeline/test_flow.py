"""What the pipeline promises, with every fault put in by hand."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from deeplens.embedding.model import ModelRef
from deeplens.errors import IndexUnavailable, InferenceBusy, InvalidImage, StoreUnavailable
from deeplens.events.images import VectorIndexingRequested
from deeplens.events.maintenance import ImageMaintenance
from deeplens.events.topics import TOPICS
from deeplens.images.model import Step, Tombstone
from deeplens.imaging.standardise import standardise
from deeplens.pipeline.resume import ResumeOverdue
from deeplens.tenants.model import Tenant

from tests.harness.api import START, picture
from tests.harness.flow import Flow

CONSUMERS = {topic.name: topic.consumers for topic in TOPICS if topic.consumers}
LIVE = list(CONSUMERS)
UPLOADED = "deeplens.images.uploaded"


@pytest.fixture
def flow() -> Flow:
    return Flow()


def delete(flow: Flow, image_id: str) -> None:
    """What the API does on DELETE."""
    flow.images.mark_deleted(flow.acme, image_id, flow.clock.now())
    flow.send(
        ImageMaintenance(
            maintenance_type="delete", image_id=image_id, tenant_id=flow.acme.id, requested_at=flow.clock.now()
        )
    )


def test_an_upload_completes_with_its_derived_files_and_one_point(flow: Flow) -> None:
    flow.accept("img_1")
    flow.run()

    assert flow.row("img_1").step is Step.COMPLETED
    assert (flow.row("img_1").width, flow.row("img_1").format) == (64, "JPEG")
    assert flow.index.count(flow.acme) == 1
    derived = {"processed/img_1.jpg", "thumbnails/small/img_1.jpg", "thumbnails/medium/img_1.jpg"}
    assert flow.objects() == {"images/img_1.jpg", *derived}
    assert flow.pending.overdue(START + timedelta(days=1), START, 10) == []


def test_a_batch_needs_one_inference_call(flow: Flow) -> None:
    calls: list[int] = []
    embed = flow.embedder.embed
    flow.embedder.embed = lambda images, model: (calls.append(len(images)), embed(images, model))[1]  # type: ignore[method-assign]
    for number in range(7):
        flow.accept(f"img_{number}")
    flow.accept("img_x", owner=flow.other)
    flow.run()

    assert calls == [8]


@pytest.mark.parametrize("topic", [name for name in LIVE if name != "deeplens.tenant.usage"])
def test_every_record_twice_changes_nothing(flow: Flow, topic: str) -> None:
    def repeat(current: str) -> None:
        if current == topic:
            flow.records[current].extend([*flow.records[current]])

    flow.accept("img_1")
    flow.accept("img_2", body=picture(1)[:200])
    flow.run(before=repeat)

    assert flow.row("img_1").step is Step.COMPLETED
    assert flow.row("img_2").step is Step.FAILED
    assert flow.index.count(flow.acme) == 1
    assert [entry.stage for entry in flow.images.timeline(flow.acme, "img_1")].count("complete") == 1
    assert flow.usage.of("images.completed") == 1
    assert len(flow.dead_letters.letters) == 1


@pytest.mark.parametrize(
    "topic", ["deeplens.features.extraction", "deeplens.vectors.indexing", "deeplens.processing.completed", UPLOADED]
)
def test_an_image_deleted_in_mid_pipeline_stays_deleted(flow: Flow, topic: str) -> None:
    done = False

    def delete_once(current: str) -> None:
        nonlocal done
        if current == topic and not done:
            done = True
            delete(flow, "img_1")

    flow.accept("img_1")
    flow.run(before=delete_once)

    assert done
    assert isinstance(flow.row("img_1"), Tombstone)
    assert flow.objects() == set()
    assert flow.index.count(flow.acme) == 0


def test_a_deletion_that_lands_between_write_and_re_read_is_noticed(flow: Flow) -> None:
    put = flow.stores.for_tenant(flow.acme).put

    def put_then_delete(key: str, body: bytes, content_type: str) -> None:
        put(key, body, content_type)
        if key.startswith("thumbnails/medium"):
            flow.images.mark_deleted(flow.acme, "img_1", flow.clock.now())

    flow.accept("img_1")
    flow.stores.for_tenant(flow.acme).put = put_then_delete  # type: ignore[method-assign]
    flow.run()

    assert flow.objects() == {"images/img_1.jpg"}
    assert flow.index.count(flow.acme) == 0


def test_a_receipt_says_what_was_deleted(flow: Flow) -> None:
    flow.accept("img_1")
    flow.run()
    for _ in range(2):
        delete(flow, "img_1")
        flow.run()

    receipt = flow.row("img_1").receipt
    assert (receipt["vectors"], receipt["models"]) == (1, ["deeplens-visual 1"])
    assert len(receipt["objects"]) == 4
    assert flow.objects() == set()


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ("embedder", InferenceBusy("queue full", retry_after_seconds=2)),
        ("index", IndexUnavailable("away")),
        ("store", StoreUnavailable("away")),
        ("publisher", None),
    ],
)
def test_a_shared_part_that_is_away_makes_records_wait_and_dead_letters_nothing(
    flow: Flow, part: str, error: Exception | None
) -> None:
    broken = flow.stores.for_tenant(flow.acme) if part == "store" else getattr(flow, part)
    flow.accept("img_1")
    flow.accept("img_2")
    rounds = 0

    def away_for_a_while(_: str) -> None:
        nonlocal rounds
        rounds += 1
        if part == "publisher":
            flow.publisher.away = int(rounds < 10)
        else:
            broken.failure = error if rounds < 10 else None

    flow.run(before=away_for_a_while)

    assert [flow.row(i).step for i in ("img_1", "img_2")] == [Step.COMPLETED] * 2
    assert flow.dead_letters.letters == {}
    assert any(answer["batchItemFailures"] for _, answer in flow.handled)


@pytest.mark.parametrize("topic", LIVE)
@pytest.mark.parametrize("value", [None, b"", b"not json", b"\xff\xfe", b"[]", b'{"tenantId": 7}', b"x" * 900_000])
def test_a_poison_record_blocks_nothing_and_is_kept(flow: Flow, topic: str, value: bytes | None) -> None:
    flow.put(topic, value)
    flow.accept("img_1")
    flow.run()

    assert flow.row("img_1").step is Step.COMPLETED
    letters = list(flow.dead_letters.letters.values())
    # One of each consumer: each would have worked it.
    assert [letter.source.topic for letter in letters if letter.source] == [topic] * len(CONSUMERS[topic])
    assert letters[0].error_message


def test_an_image_the_endpoint_refuses_fails_alone(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [picture(seed) for seed in range(5)]
    bad = standardise(bodies[3], flow.limits).jpeg
    embed = flow.embedder.embed

    def picky(images: Sequence[bytes], model: ModelRef) -> Any:
        if bad in images:
            raise InvalidImage("cannot be decoded")
        return embed(images, model)

    monkeypatch.setattr(flow.embedder, "embed", picky)
    for number, body in enumerate(bodies):
        flow.accept(f"img_{number}", body)
    flow.run()

    assert [flow.row(f"img_{n}").step for n in range(5)].count(Step.COMPLETED) == 4
    assert (flow.row("img_3").step, flow.row("img_3").error_code) == (Step.FAILED, "INVALID_IMAGE")


def test_a_batch_that_breaks_as_a_whole_is_worked_one_by_one(flow: Flow) -> None:
    find = flow.images.find

    def break_on_two(owner: Tenant, ids: Sequence[str]) -> Any:
        if len(ids) > 1 or "img_1" in ids:
            raise ZeroDivisionError("secret of a tenant")
        return find(owner, ids)

    flow.accept("img_1")
    flow.accept("img_2")
    flow.images.find = break_on_two  # type: ignore[method-assign]
    flow.deliver(UPLOADED)
    flow.images.find = find  # type: ignore[method-assign]
    flow.run()

    assert flow.row("img_2").step is Step.COMPLETED
    assert flow.row("img_1").step is Step.ACCEPTED
    (failure,) = [entry for entry in flow.images.timeline(flow.acme, "img_1") if entry.error_code]
    assert (failure.stage, failure.error_code) == ("preprocess", "STAGE_FAILED")
    assert "secret" not in (failure.error_message or "")
    flow.run_with_retries()
    assert flow.row("img_1").step is Step.COMPLETED
    assert flow.dead_letters.letters == {}


def test_tags_changed_in_mid_pipeline_are_searchable(flow: Flow) -> None:
    def amend(topic: str) -> None:
        if topic == "deeplens.vectors.indexing":
            flow.images.amend(flow.acme, "img_1", tags=["new"], metadata=None)

    flow.accept("img_1")
    flow.run(before=amend)

    assert flow.index.payload_of(flow.acme, "img_1")["tags"] == ["new"]


def test_a_tenant_has_at_most_its_window_in_flight(flow: Flow) -> None:
    flow = Flow(window=3)
    for number in range(10):
        flow.accept(f"img_{number}")
    assert len(flow.records[UPLOADED]) == 3

    flow.run()

    assert {flow.row(f"img_{n}").step for n in range(10)} == {Step.COMPLETED}


def test_overdue_images_are_sent_again(flow: Flow) -> None:
    event = flow.accept("img_1")
    flow.records[UPLOADED].clear()
    flow.clock.now = lambda: START + timedelta(hours=1)  # type: ignore[method-assign]

    again = ResumeOverdue(flow.pending, flow.tenants, flow.images, flow.pending_due, flow.clock)()
    assert [one.image_id for one in again] == [event.image_id]
    assert ResumeOverdue(flow.pending, flow.tenants, flow.images, flow.pending_due, flow.clock)() == []
    flow.send(again[0])
    flow.run()

    assert flow.row("img_1").step is Step.COMPLETED


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "another"}, "MODEL_MISMATCH"),
        ({"model_version": "2"}, "MODEL_MISMATCH"),
        ({"vectors": [0.5] * 3}, "MODEL_MISMATCH"),
        ({"dimensions": 3}, "MODEL_MISMATCH"),
    ],
)
def test_a_vector_of_another_model_never_enters_the_collection(
    flow: Flow, change: dict[str, object], reason: str
) -> None:
    flow.accept("img_1")
    flow.run()
    before = flow.index.vector_of(flow.acme, "img_1")
    event = VectorIndexingRequested(
        image_id="img_1",
        tenant_id=flow.acme.id,
        generation=2,
        vectors=[0.5] * 8,
        dimensions=8,
        extracted_at=flow.clock.now(),
        model="deeplens-visual",
        model_version="1",
    )
    flow.send(event.model_copy(update=change))
    flow.run()

    assert flow.row("img_1").error_code == reason
    assert flow.index.vector_of(flow.acme, "img_1") == before


def test_events_of_an_older_generation_are_dropped(flow: Flow) -> None:
    event = flow.accept("img_1")
    flow.records[UPLOADED].clear()
    flow.send(event.model_copy(update={"generation": 3}))
    flow.run()
    row = flow.row("img_1")
    flow.send(event.model_copy(update={"generation": 2}))
    flow.run()

    assert flow.row("img_1") == row
    assert row.generation == 3


@pytest.mark.parametrize("path", ["s3://tenant-other/images/img_9.jpg", "nfs://tenant-acme/images/img_1.jpg"])
def test_an_event_cannot_reach_outside_its_tenants_store(flow: Flow, path: str) -> None:
    event = flow.accept("img_1")
    flow.records[UPLOADED].clear()
    flow.send(event.model_copy(update={"storage_path": path}))
    flow.run()

    assert flow.row("img_1").error_code in ("INVALID_EVENT", "OBJECT_NOT_FOUND")
    assert flow.index.count(flow.acme) == 0


def test_a_dead_letter_that_cannot_be_stored_stays_in_its_topic(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = "deeplens.processing.deadletter"
    store = flow.dead_letters.store

    def broken(_: object) -> None:
        raise ZeroDivisionError

    flow.put(topic, b"anything")
    monkeypatch.setattr(flow.dead_letters, "store", broken)
    flow.deliver(topic)
    assert len(flow.records[topic]) == 1
    assert flow.handled[-1][1]["batchItemFailures"]

    monkeypatch.setattr(flow.dead_letters, "store", store)
    flow.run()
    assert len(flow.dead_letters.letters) == 1
