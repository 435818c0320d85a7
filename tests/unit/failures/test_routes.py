"""Dead letters over the Admin API, and a tenant's own retry."""

import json
from base64 import b64decode, b64encode
from datetime import timedelta
from typing import Any

import pytest
from deeplens.events.failures import SourceRecord
from deeplens.failures import schemas as letters
from deeplens.failures.model import MAX_REPLAYS, DeadLetterEntry, replay_blocker
from deeplens.http import schemas as api
from deeplens.images.model import Step
from jsonschema import Draft202012Validator

from tests.harness.api import START, World

URL = "/v1/admin/dead-letters"
UPLOADED, USAGE = "deeplens.images.uploaded", "deeplens.tenant.usage"


def source(topic: str = UPLOADED, **changes: Any) -> SourceRecord:
    value = b64encode(b'{"imageId":"img_1","generation":1}').decode()
    return SourceRecord(**{"topic": topic, "partition": 1, "offset": 7, "value": value, "event_id": "e1"} | changes)


def entry(letter_id: str = "dlq_1", minutes: int = 0, **changes: Any) -> DeadLetterEntry:
    values = {
        "tenant_id": "tenant_acme",
        "image_id": None,
        "stage": "meter",
        "error_code": "STAGE_FAILED",
        "error_message": "broke",
        "attempt": 8,
        "failed_at": START + timedelta(minutes=minutes),
        "source": source(USAGE),
    }
    return DeadLetterEntry(id=letter_id, **{**values, **changes})


def failed_image(world: World, seed: int = 0) -> tuple[str, DeadLetterEntry]:
    """An image that failed while it was embedded, and its dead letter."""
    image_id: str = world.upload(key=f"k{seed}").json()["imageId"]
    world.reach(image_id, Step.PREPROCESSED)
    world.reach(image_id, Step.FAILED, error_code="STAGE_FAILED", error_message="broke", error_retryable=True)
    world.pending.finish([(world.acme.id, image_id)], START)
    world.publisher.sent.clear()
    value = b64encode(json.dumps({"imageId": image_id, "kept": "ä"}).encode()).decode()
    letter = entry(
        f"dlq_{seed}",
        image_id=image_id,
        stage="extract",
        source=source("deeplens.features.extraction", value=value, event_id=f"e{seed}"),
    )
    world.dead_letters.store([letter])
    return image_id, letter


def status_of(world: World, image_id: str) -> str:
    return str(world.client.get(f"/v1/images/{image_id}").json()["status"])


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("letter", "force", "expected"),
    [
        (entry(), False, None),
        (entry(source=None), True, "not kept"),
        (entry(source=source(value=None)), True, "not kept"),
        (entry(source=source("elsewhere")), True, "not one of this system"),
        (entry(state="replayed", replays=1), False, "replayed already"),
        (entry(state="replayed", replays=1), True, None),
        (entry(state="discarded"), False, "discarded already"),
        (entry(state="discarded"), True, None),
        (entry(source=source(USAGE, replays=MAX_REPLAYS - 1)), False, None),
        (entry(source=source(USAGE, replays=MAX_REPLAYS)), False, "after 3 replays"),
        (entry(source=source(USAGE, replays=MAX_REPLAYS)), True, None),
    ],
)
def test_refusal(letter: DeadLetterEntry, force: bool, expected: str | None) -> None:
    reason = replay_blocker(letter, {UPLOADED, USAGE}, force=force)
    assert reason is None if expected is None else expected in (reason or "")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["dlq_4", "dlq_3", "dlq_2", "dlq_1"]),
        ({"tenant_id": "tenant_other"}, ["dlq_2"]),
        ({"code": "INVALID_EVENT"}, ["dlq_3"]),
        ({"stage": "extract"}, ["dlq_4"]),
        ({"state": "discarded"}, ["dlq_1"]),
        ({"failed_from": (START + timedelta(minutes=3)).isoformat()}, ["dlq_4", "dlq_3"]),
        ({"failed_before": (START + timedelta(minutes=3)).isoformat()}, ["dlq_2", "dlq_1"]),
        ({"code": "STAGE_FAILED", "tenant_id": "tenant_acme", "state": "open"}, ["dlq_4"]),
    ],
    ids=str,
)
def test_letters_are_found_by_tenant_code_stage_state_and_time(
    world: World, query: dict[str, str], expected: list[str]
) -> None:
    world.dead_letters.store(
        [
            entry("dlq_1", 1),
            entry("dlq_2", 2, tenant_id="tenant_other"),
            entry("dlq_3", 3, error_code="INVALID_EVENT"),
            entry("dlq_4", 4, stage="extract"),
        ]
    )
    world.dead_letters.discard("dlq_1", "test", START)
    answer = world.operator().get(URL, params=query)

    assert answer.status_code == 200
    assert [letter["deadLetterId"] for letter in answer.json()["deadLetters"]] == expected


def test_pages_follow_each_other_without_gap_or_repeat(world: World) -> None:
    world.dead_letters.store([entry(f"dlq_{n}", n // 3) for n in range(10)])
    operator, seen, cursor = world.operator(), list[str](), ""
    while cursor is not None:
        page = operator.get(URL, params={"limit": 4} | ({"cursor": cursor} if cursor else {})).json()
        seen += [letter["deadLetterId"] for letter in page["deadLetters"]]
        cursor = page.get("nextCursor")

    assert len(seen) == len(set(seen)) == 10


def test_groups_count_by_code_and_stage(world: World) -> None:
    world.dead_letters.store([entry(f"dlq_{n}", n) for n in range(3)] + [entry("dlq_9", error_code="INVALID_EVENT")])
    first, second = world.operator().get(f"{URL}/groups").json()["groups"]

    assert (first["code"], first["stage"], first["count"]) == ("STAGE_FAILED", "meter", 3)
    assert first["newest"] > first["oldest"]
    assert (second["code"], second["count"]) == ("INVALID_EVENT", 1)
    assert len(world.operator().get(f"{URL}/groups", params={"code": "INVALID_EVENT"}).json()["groups"]) == 1


@pytest.mark.parametrize(
    ("value", "event", "text"),
    [
        (b'{"a": [1, NaN]}', {"a": [1, "NaN"]}, None),
        (b"no json \xff", None, "no json \ufffd"),
        (b'"\\ud800"', None, '"\\ud800"'),
        (b"[" * 400 + b"]" * 400, None, "[" * 400 + "]" * 400),
        (b"", None, ""),
    ],
    ids=["json", "text", "half a pair", "deep", "empty"],
)
def test_a_letter_shows_its_event(world: World, value: bytes, event: Any, text: str | None) -> None:
    world.dead_letters.store([entry(source=source(value=b64encode(value).decode()))])
    shown = world.operator().get(f"{URL}/dlq_1").json()

    assert (shown["event"], shown["text"]) == (event, text)
    assert (shown["topic"], shown["partition"], shown["offset"]) == (UPLOADED, 1, 7)


def test_a_letter_without_its_record_says_so(world: World) -> None:
    world.dead_letters.store([entry(source=None)])
    shown = world.operator().get(f"{URL}/dlq_1").json()
    assert (shown["replayable"], shown["event"], shown["topic"]) == (False, None, None)
    answer = world.operator().post(f"{URL}/dlq_1/replay", json={"force": True})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/dead-letter-not-replayable")


@pytest.mark.parametrize("path", ["dlq_none", "%00", "a%20b", "x" * 500])
def test_an_unknown_letter_is_not_found(world: World, path: str) -> None:
    for method, url, body in (("GET", "", None), ("POST", "/replay", {}), ("POST", "/discard", {"reason": "x"})):
        answer = world.operator().request(method, f"{URL}/{path}{url}", json=body)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/dead-letter-not-found")


def test_a_replayed_record_is_as_it_was_and_counted(world: World) -> None:
    world.dead_letters.store([entry()])
    answer = world.operator().post(f"{URL}/dlq_1/replay")

    assert answer.json() == {"dryRun": False, "replayed": 1, "refused": [], "more": False}
    (record,) = world.publisher.resent
    assert (record.topic, record.event_id, record.attempt, record.replays) == (USAGE, "e1", 1, 1)
    assert record.value == b64decode(source().value or "")
    assert world.operator().get(f"{URL}/dlq_1").json()["state"] == "replayed"
    again = world.operator().post(f"{URL}/dlq_1/replay")
    assert again.status_code == 409
    forced = world.operator().post(f"{URL}/dlq_1/replay", json={"force": True})
    assert forced.json()["replayed"] == 1
    assert [record.replays for record in world.publisher.resent] == [1, 2]


def test_a_record_of_json_that_is_nested_too_deeply_is_replayed_as_it_was(world: World) -> None:
    value = b64encode(b"[" * 100_000).decode()
    world.dead_letters.store([entry(image_id="img_a", source=source("deeplens.features.extraction", value=value))])
    answer = world.operator().post(f"{URL}/dlq_1/replay", json={"force": True})
    assert answer.status_code == 409
    assert "image is gone" in answer.json()["detail"]


def test_what_fails_again_and_again_is_refused_until_forced(world: World) -> None:
    world.dead_letters.store([entry(source=source(USAGE, replays=3))])
    refused = world.operator().post(f"{URL}/replay", json={"code": "STAGE_FAILED"}).json()
    assert refused["refused"] == [{"deadLetterId": "dlq_1", "reason": "it failed again after 3 replays"}]
    assert world.operator().post(f"{URL}/replay", json={"ids": ["dlq_1"], "force": True}).json()["replayed"] == 1
    assert world.publisher.resent[0].replays == 4


def test_a_dry_run_changes_nothing(world: World) -> None:
    image_id, _ = failed_image(world)
    world.dead_letters.store([entry("dlq_a", source=None)])
    before = dict(world.dead_letters.kept)
    answer = world.operator().post(f"{URL}/replay", json={"tenantId": "tenant_acme", "dryRun": True}).json()

    assert (answer["dryRun"], answer["replayed"]) == (True, 1)
    assert answer["refused"] == [{"deadLetterId": "dlq_a", "reason": "its record was not kept"}]
    assert (world.publisher.resent, world.publisher.sent) == ([], [])
    assert world.dead_letters.kept == before
    assert status_of(world, image_id) == "failed"


def test_replaying_a_filter_takes_open_letters_only_and_says_when_there_are_more(world: World) -> None:
    world.dead_letters.store([entry(f"dlq_{n}", n) for n in range(5)] + [entry("dlq_x", error_code="OTHER")])
    world.dead_letters.discard("dlq_4", "no", START)
    operator, wanted = world.operator(), {"code": "STAGE_FAILED", "limit": 3}
    first = operator.post(f"{URL}/replay", json=wanted).json()
    second = operator.post(f"{URL}/replay", json=wanted).json()

    assert (first["replayed"], first["more"]) == (3, True)
    assert (second["replayed"], second["more"]) == (1, False)
    assert len(world.publisher.resent) == 4


def test_letters_named_by_id_are_all_answered(world: World) -> None:
    world.dead_letters.store([entry("dlq_1"), entry("dlq_2")])
    world.dead_letters.mark_replayed(["dlq_2"], START)
    answer = world.operator().post(f"{URL}/replay", json={"ids": ["dlq_1", "dlq_2", "dlq_3"]}).json()

    assert answer["replayed"] == 1
    assert {refusal["deadLetterId"]: refusal["reason"] for refusal in answer["refused"]} == {
        "dlq_2": "it was replayed already",
        "dlq_3": "no such letter",
    }


@pytest.mark.parametrize("body", [{}, {"limit": 5}, {"ids": ["x"]}, {"code": "A", "limit": 501}, {"codes": "A"}])
def test_a_replay_of_everything_or_of_a_typo_is_refused(world: World, body: dict[str, Any]) -> None:
    assert world.operator().post(f"{URL}/replay", json=body).status_code == 422


def test_a_replayed_image_is_in_work_again_one_generation_further(world: World) -> None:
    image_id, letter = failed_image(world)
    assert world.operator().post(f"{URL}/{letter.id}/replay").status_code == 200

    shown = world.client.get(f"/v1/images/{image_id}").json()
    assert (shown["status"], shown.get("error")) == ("accepted", None)
    (record,) = world.publisher.resent
    assert json.loads(record.value) == {"imageId": image_id, "kept": "ä", "generation": 2}
    (pending,) = world.pending.overdue(START + timedelta(days=1), START, 10)
    assert (pending.image_id, pending.generation) == (image_id, 2)


def test_a_replay_never_revives_or_overtakes_an_image(world: World) -> None:
    deleted, first = failed_image(world, 1)
    retried, second = failed_image(world, 2)
    world.mark_deleted(deleted)
    assert world.client.post(f"/v1/images/{retried}/retry").status_code == 202
    gone = entry("dlq_3", tenant_id="tenant_gone", image_id="img_1", source=source())
    world.dead_letters.store([gone])

    answer = world.operator().post(f"{URL}/replay", json={"ids": [first.id, second.id, gone.id], "force": True}).json()
    assert {refusal["deadLetterId"]: refusal["reason"] for refusal in answer["refused"]} == {
        first.id: "its image is gone",
        second.id: "its image was sent again since",
        gone.id: "its tenant is gone",
    }
    assert world.publisher.resent == []


def test_a_letter_of_a_searchable_images_other_model_is_sent_as_it_was(world: World) -> None:
    image_id = world.searchable()
    world.dead_letters.store([entry(image_id=image_id, source=source())])
    assert world.operator().post(f"{URL}/dlq_1/replay").json()["replayed"] == 1

    assert status_of(world, image_id) == "completed"
    assert world.publisher.resent[0].value == b64decode(source().value or "")


def test_a_replay_that_the_broker_does_not_take_leaves_the_letter_open(world: World) -> None:
    world.dead_letters.store([entry("dlq_1"), entry("dlq_2")])
    world.publisher.away = 2
    assert world.operator().post(f"{URL}/dlq_1/replay").status_code == 503
    many = world.operator().post(f"{URL}/replay", json={"ids": ["dlq_1", "dlq_2"]}).json()

    assert {refusal["reason"] for refusal in many["refused"]} == {"the broker did not take it; repeat"}
    assert {letter.state for letter in world.dead_letters.kept.values()} == {"open"}
    assert world.operator().post(f"{URL}/replay", json={"ids": ["dlq_1", "dlq_2"]}).json()["replayed"] == 2


def test_a_discarded_letter_keeps_its_reason(world: World) -> None:
    world.dead_letters.store([entry()])
    operator = world.operator()
    shown = operator.post(f"{URL}/dlq_1/discard", json={"reason": " test data "}).json()

    assert (shown["state"], shown["reason"]) == ("discarded", "test data")
    assert operator.post(f"{URL}/dlq_1/discard", json={"reason": "again"}).status_code == 409
    assert operator.post(f"{URL}/dlq_1/replay").status_code == 409
    assert operator.post(f"{URL}/dlq_1/discard", json={"reason": ""}).status_code == 422


def test_every_write_is_audited_and_only_operators_may(world: World) -> None:
    world.dead_letters.store([entry()])
    own = world.administrator(world.acme.id)
    for answer in (own.get(URL), own.get(f"{URL}/dlq_1"), own.post(f"{URL}/dlq_1/replay")):
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/operators-only")
    world.audit.entries.clear()
    world.operator().get(URL)
    world.operator().post(f"{URL}/dlq_1/discard", json={"reason": "x"})

    route = "POST /v1/admin/dead-letters/{dead_letter_id}/discard"
    assert world.audit.entries == [(route, "begun"), (route, "done")]


def test_a_failed_image_is_retried_by_its_tenant(world: World) -> None:
    image_id, _ = failed_image(world)
    answer = world.client.post(f"/v1/images/{image_id}/retry")

    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/images/{image_id}")
    (message,) = world.publisher.sent
    assert (message.event.generation, message.event.image_id) == (2, image_id)  # type: ignore[attr-defined]
    shown = world.client.get(f"/v1/images/{image_id}").json()
    assert (shown["status"], shown.get("error")) == ("accepted", None)
    assert [line["stage"] for line in shown["timeline"]][-1] == "retry"
    assert len(world.pending.overdue(START + timedelta(days=1), START, 10)) == 1
    (settled,) = world.dead_letters.kept.values()
    assert (settled.state, settled.replays, settled.reason) == ("replayed", 0, "retried by its tenant")


@pytest.mark.parametrize("step", [None, Step.PREPROCESSED, Step.COMPLETED])
def test_only_a_failed_image_is_retried(world: World, step: Step | None) -> None:
    image_id = world.upload().json()["imageId"]
    if step is not None:
        world.reach(image_id, step)
    world.publisher.sent.clear()
    answer = world.client.post(f"/v1/images/{image_id}/retry")

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/image-not-failed")
    assert world.publisher.sent == []


def test_a_retry_needs_the_scope_and_the_own_image(world: World) -> None:
    image_id, _ = failed_image(world)
    assert world.client_of(world.acme, "deeplens.api.read").post(f"/v1/images/{image_id}/retry").status_code == 403
    assert world.client_of(world.other).post(f"/v1/images/{image_id}/retry").status_code == 404
    assert status_of(world, image_id) == "failed"


def test_a_retry_that_the_broker_does_not_take_is_sent_by_the_schedule(world: World) -> None:
    image_id, _ = failed_image(world)
    world.publisher.away = 1
    assert world.client.post(f"/v1/images/{image_id}/retry").status_code == 503
    (pending,) = world.pending.overdue(START + timedelta(days=1), START, 10)
    assert (pending.image_id, pending.generation) == (image_id, 2)


def test_the_routes_are_documented_with_valid_examples(world: World) -> None:
    document = world.operator().get("/v1/admin/openapi.json").json()
    schemas = document["components"]["schemas"]
    checked = 0
    for name, schema in schemas.items():
        if hasattr(letters, name) and not hasattr(api, name):
            for example in schema.get("examples", []):
                Draft202012Validator({**schema, "components": {"schemas": schemas}}).validate(example)
                checked += 1
    assert checked >= 6
    for path, methods in document["paths"].items():
        if path.startswith(URL):
            for operation in methods.values():
                assert operation["tags"] == ["dead letters"]
                assert {"401", "403", "422", "500", "503"} <= operation["responses"].keys()
