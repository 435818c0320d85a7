"""Each published payload parses, and serialises back unchanged."""

import json
from pathlib import Path
from typing import Any

import pytest
from deeplens.events.failures import ProcessingFailed
from deeplens.events.images import ImageUploaded, VectorIndexingRequested
from deeplens.events.maintenance import ImageMaintenance
from deeplens.events.topics import TOPICS, topic_of
from pydantic import ValidationError

HERE = Path(__file__).parent
PUBLISHED = HERE.parents[1].parent / "shared" / "contracts"
PAYLOADS = HERE.parents[1] / "events" / "payloads"
CONTRACTS = {topic.name: topic.contract for topic in TOPICS}
GOLDEN = sorted(HERE.glob("*.json"))


def payload(name: str) -> dict[str, Any]:
    return dict(json.loads((HERE / f"{name}.json").read_text()))


def in_order(text: str | bytes) -> str:
    """JSON without its spaces: equal only where names, values and their order are."""
    return json.dumps(json.loads(text))


@pytest.mark.parametrize("path", [*GOLDEN, *sorted(PAYLOADS.glob("*.json"))], ids=lambda path: path.stem)
def test_a_payload_is_written_back_unchanged(path: Path) -> None:
    event = CONTRACTS[path.stem].model_validate_json(path.read_bytes())
    assert in_order(event.to_wire()) == in_order(path.read_text())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_golden_field_is_required_unless_the_variant_may_omit_it(path: Path) -> None:
    golden = payload(path.stem)
    optional = {"metadata", "actions", "content", "status", "metrics"}
    for field in golden.keys() - optional:
        with pytest.raises(ValidationError):
            CONTRACTS[path.stem].model_validate({k: v for k, v in golden.items() if k != field})


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_fields_of_a_newer_release_are_tolerated(path: Path) -> None:
    event = CONTRACTS[path.stem].model_validate({**payload(path.stem), "addedLater": 1})
    assert json.loads(event.to_wire()) == payload(path.stem)


@pytest.mark.parametrize(
    ("name", "inside", "fields"),
    [
        ("deeplens.features.extraction", "extractionParams", ("model", "dimensions")),
        ("deeplens.processing.failed", "error", ("code", "message", "retryable")),
    ],
)
def test_what_stands_inside_a_field_is_required_too(name: str, inside: str, fields: tuple[str, ...]) -> None:
    for field in fields:
        golden = payload(name)
        del golden[inside][field]
        with pytest.raises(ValidationError, match=f"{inside}.{field}"):
            CONTRACTS[name].model_validate(golden)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_payloads_to_try_are_the_golden_ones(path: Path) -> None:
    assert (PAYLOADS / path.name).read_bytes() == path.read_bytes()


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published contracts are not beside this checkout")
def test_the_copies_are_the_published_payloads() -> None:
    assert {p.name: p.read_text() for p in GOLDEN} == {p.name: p.read_text() for p in PUBLISHED.glob("*.json")}


def test_the_eight_specified_topics_have_golden_payloads() -> None:
    added = {
        "deeplens.processing.deadletter",
        "deeplens.duplicates.found",
        "deeplens.tenant.usage",
        "deeplens.tenant.notifications",
    }
    assert {path.stem for path in GOLDEN} == CONTRACTS.keys() - added
    assert len(CONTRACTS) == 12


@pytest.mark.parametrize(
    ("name", "partitions", "days"),
    [
        ("deeplens.images.uploaded", 3, 7),
        ("deeplens.tenant.notifications", 3, 7),
        ("deeplens.videos.uploaded", 3, 7),
        ("deeplens.features.extraction", 3, 7),
        ("deeplens.vectors.indexing", 3, 7),
        ("deeplens.processing.completed", 3, 30),
        ("deeplens.duplicates.found", 3, 7),
        ("deeplens.processing.failed", 3, 30),
        ("deeplens.images.maintenance", 3, 7),
        ("whatsapp-ready-messages", 3, 7),
        ("deeplens.tenant.usage", 6, 90),
    ],
)
def test_topics_are_configured_as_specified(name: str, partitions: int, days: int) -> None:
    topic = next(topic for topic in TOPICS if topic.name == name)
    assert (topic.partitions, topic.retention.days) == (partitions, days)


def test_production_keeps_three_replicas_and_writes_to_two() -> None:
    topic = TOPICS[0]
    assert (topic.replication("replicated"), topic.settings("replicated")["min.insync.replicas"]) == (3, "2")
    assert (topic.replication(), topic.settings()["min.insync.replicas"]) == (1, "1")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("deeplens.images.uploaded", "tenant_abc:img_123456"),
        ("deeplens.processing.failed", "tenant_abc:img_123456"),
        ("deeplens.images.maintenance", "tenant_abc:img_123456"),
        ("deeplens.videos.uploaded", "tenant_abc:vid_789012"),
        ("whatsapp-ready-messages", "1234567890@s.whatsapp.net"),
    ],
)
def test_keys_hold_the_events_of_one_image_together(name: str, key: str) -> None:
    event = CONTRACTS[name].model_validate(payload(name))
    assert (event.key, topic_of(event).name) == (key, name)


@pytest.mark.parametrize(
    "change",
    [
        {"imageId": "../../etc"},
        {"tenantId": "tenant_a/../b"},
        {"tenantId": "TENANT"},
        {"storagePath": "http://elsewhere/x.jpg"},
        {"storagePath": "s3://bucket"},
        {"sizeBytes": -1},
        {"uploadedAt": "2026-01-14T10:30:00"},
        {"generation": 0},
    ],
    ids=str,
)
def test_values_that_could_leave_a_tenant_do_not_parse(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ImageUploaded.model_validate({**payload("deeplens.images.uploaded"), **change})


@pytest.mark.parametrize("value", [b'{"vectors": [NaN]}', b'{"vectors": [1e999]}'])
def test_vectors_are_finite(value: bytes) -> None:
    golden = payload("deeplens.vectors.indexing")
    body = json.dumps({k: v for k, v in golden.items() if k != "vectors"})[:-1] + ", " + value.decode()[1:]
    with pytest.raises(ValidationError):
        VectorIndexingRequested.model_validate_json(body)


def test_only_images_must_name_an_image_in_failures_and_maintenance() -> None:
    failed = {k: v for k, v in payload("deeplens.processing.failed").items() if k != "imageId"}
    assert ProcessingFailed.model_validate({**failed, "subject": "record"}).image_id is None
    with pytest.raises(ValidationError):
        ProcessingFailed.model_validate(failed)
    maintenance = {k: v for k, v in payload("deeplens.images.maintenance").items() if k != "imageId"}
    assert ImageMaintenance.model_validate({**maintenance, "subject": "tenant"}).image_id is None
