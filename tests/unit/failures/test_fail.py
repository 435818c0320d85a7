"""What becomes of records that fail for the time being, with every fault put in by hand."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from deeplens.embedding.model import ModelRef
from deeplens.errors import ImageNotFound, StoreUnavailable, TenantStoreDenied
from deeplens.events.failures import Failure, ProcessingFailed, SourceRecord
from deeplens.events.maintenance import ImageMaintenance
from deeplens.events.topics import INTERACTIVE_RETRY
from deeplens.events.usage import TenantUsage
from deeplens.failures.model import MAX_REPLAYS, DeadLetterFilter
from deeplens.failures.replay import Renew, Replay
from deeplens.images.model import Step, Tombstone
from deeplens.images.requests import AdmitImages
from deeplens.pipeline.resume import ResumeOverdue

from tests.fakes.retries import message
from tests.harness.api import START
from tests.harness.flow import Flow, no_report

UPLOADED, FAILED = "deeplens.images.uploaded", "deeplens.processing.failed"


@pytest.fixture
def flow() -> Flow:
    return Flow()


def deny(flow: Flow, times: int) -> None:
    """The tenant's store refuses the next reads."""
    store = flow.stores.for_tenant(flow.acme)
    get, left = store.get, times

    def refuse(key: str) -> bytes:
        nonlocal left
        left -= 1
        if left >= 0:
            raise TenantStoreDenied("access denied")
        return get(key)

    store.get = refuse  # type: ignore[method-assign]


def resume(flow: Flow) -> list[str]:
    return [
        event.image_id
        for event in ResumeOverdue(flow.pending, flow.tenants, flow.images, flow.pending_due, flow.clock)()
    ]


def test_an_image_whose_store_refuses_for_a_while_completes(flow: Flow) -> None:
    deny(flow, times=3)
    flow.accept("img_1")
    flow.run_with_retries()

    assert flow.row("img_1").step is Step.COMPLETED
    assert flow.row("img_1").error_code is None
    assert flow.dead_letters.letters == {}
    assert flow.index.count(flow.acme) == 1


def test_while_it_waits_an_image_is_in_work_and_its_timeline_says_why(flow: Flow) -> None:
    deny(flow, times=1)
    flow.accept("img_1")
    flow.run()

    assert flow.row("img_1").step is Step.ACCEPTED
    last = flow.images.timeline(flow.acme, "img_1")[-1]
    assert (last.stage, last.step, last.error_code) == ("preprocess", Step.ACCEPTED, "TENANT_STORE_DENIED")
    (retry,) = flow.retries.messages.values()
    assert (retry.attempt_number, retry.tenant_id, retry.image_id) == (2, flow.acme.id, "img_1")


def test_attempts_end_with_the_last_error_and_one_dead_letter(flow: Flow) -> None:
    deny(flow, times=1000)
    flow.accept("img_1")
    flow.run_with_retries()

    row = flow.row("img_1")
    assert (row.step, row.error_code, row.attempt) == (Step.FAILED, "TENANT_STORE_DENIED", INTERACTIVE_RETRY.attempts)
    (letter,) = flow.dead_letters.letters.values()
    assert (letter.attempt, letter.error_code) == (INTERACTIVE_RETRY.attempts, "TENANT_STORE_DENIED")
    assert flow.pending.overdue(START + timedelta(days=9), START, 10) == []


def test_what_waits_for_its_retry_is_not_sent_by_the_schedule_meanwhile(flow: Flow) -> None:
    deny(flow, times=1)
    flow.accept("img_1")
    flow.clock.skip(flow.pending_due - timedelta(minutes=1))
    flow.run()
    (retry,) = flow.retries.messages.values()

    flow.clock.now = lambda: retry.due + timedelta(minutes=5)  # type: ignore[method-assign]
    assert resume(flow) == []


def test_a_retry_that_the_queue_has_lost_is_made_good_by_the_schedule(flow: Flow) -> None:
    deny(flow, times=1)
    event = flow.accept("img_1")
    flow.run()
    flow.retries.messages.clear()

    flow.clock.skip(flow.pending_due + timedelta(minutes=16))
    assert resume(flow) == ["img_1"]
    flow.send(event)
    flow.run_with_retries()
    assert flow.row("img_1").step is Step.COMPLETED


@pytest.mark.parametrize("stage", ["preprocess", "extract", "index", "complete"])
def test_a_retried_event_twice_is_harmless(flow: Flow, stage: str) -> None:
    find, failing = flow.images.find, True

    def break_once(owner: Any, ids: Sequence[str]) -> Any:
        if failing and stage_now == stage:
            raise ZeroDivisionError
        return find(owner, ids)

    topics = {
        UPLOADED: "preprocess",
        "deeplens.features.extraction": "extract",
        "deeplens.vectors.indexing": "index",
        "deeplens.processing.completed": "complete",
    }
    stage_now = ""

    def note(topic: str) -> None:
        nonlocal stage_now
        stage_now = topics.get(topic, "")

    flow.images.find = break_once  # type: ignore[method-assign]
    flow.accept("img_1")
    flow.run(before=note)
    # Of a topic with two consumers each asks for another attempt of its own.
    assert len(flow.retries.messages) == (2 if stage == "complete" else 1)
    failing = False
    flow.clock.skip(timedelta(hours=1))
    flow.retry(times=2)
    flow.run()

    assert flow.row("img_1").step is Step.COMPLETED
    assert flow.index.count(flow.acme) == 1
    assert flow.usage.of("images.completed") == 1
    assert [entry.stage for entry in flow.images.timeline(flow.acme, "img_1")].count("complete") == (
        2 if stage == "complete" else 1
    )
    assert flow.dead_letters.letters == {}


def test_copies_of_an_event_that_fail_for_good_are_one_dead_letter(flow: Flow) -> None:
    deny(flow, times=1000)
    flow.accept("img_1")
    for _ in range(40):
        flow.run()
        flow.clock.skip(timedelta(minutes=16))
        if flow.retries.messages:
            flow.retry(times=2 if len(flow.retries.messages) < 4 else 1)

    assert flow.row("img_1").step is Step.FAILED
    assert len(flow.dead_letters.letters) == 1


def test_a_wait_longer_than_a_message_may_be_delayed_is_several(flow: Flow) -> None:
    deny(flow, times=1)
    flow.accept("img_1")
    flow.run()
    (number, retry), *_ = flow.retries.messages.items()
    flow.retries.messages[number] = retry.model_copy(update={"due": flow.clock.now() + timedelta(minutes=40)})

    hops = 0
    while flow.retries.messages:
        hops += 1
        flow.clock.skip(timedelta(minutes=15))
        flow.retry()
    flow.run()

    assert hops == 3
    assert flow.row("img_1").step is Step.COMPLETED


def test_a_record_waits_in_its_topic_while_the_queue_is_away(flow: Flow) -> None:
    deny(flow, times=1)
    flow.retries.away = True
    flow.accept("img_1")
    flow.accept("img_2", body=b"no image")
    flow.deliver(UPLOADED)
    flow.deliver(FAILED)
    assert flow.records[FAILED]
    assert flow.retries.messages == {}

    flow.retries.away = False
    flow.run_with_retries()
    assert flow.row("img_1").step is Step.COMPLETED
    assert flow.row("img_2").step is Step.FAILED


def test_a_message_comes_again_while_the_broker_is_away(flow: Flow) -> None:
    deny(flow, times=1)
    flow.accept("img_1")
    flow.run()
    flow.clock.skip(timedelta(minutes=16))
    flow.publisher.away = 1
    (number,) = flow.retries.messages

    assert flow.retry() == {"batchItemFailures": [{"itemIdentifier": number}]}
    assert flow.retry() == {"batchItemFailures": []}
    flow.run()
    assert flow.row("img_1").step is Step.COMPLETED


def test_a_queue_that_refuses_another_hop_does_not_hold_up_what_is_due(flow: Flow) -> None:
    deny(flow, times=2)
    flow.accept("img_1")
    flow.accept("img_2")
    flow.run()
    early, late = flow.retries.messages
    later = flow.retries.messages[late].model_copy(update={"due": flow.clock.now() + timedelta(hours=2)})
    flow.retries.messages[late] = later
    flow.clock.skip(timedelta(minutes=16))
    flow.retries.away = True

    assert flow.retry() == {"batchItemFailures": [{"itemIdentifier": late}]}
    assert early not in flow.retries.messages
    flow.run()
    assert sorted(flow.row(image_id).step for image_id in ("img_1", "img_2")) == [Step.ACCEPTED, Step.COMPLETED]


def test_a_retry_of_an_image_deleted_meanwhile_revives_nothing(flow: Flow) -> None:
    deny(flow, times=1)
    flow.accept("img_1")
    flow.run()
    flow.images.mark_deleted(flow.acme, "img_1", flow.clock.now())
    flow.send(
        ImageMaintenance(
            maintenance_type="delete", image_id="img_1", tenant_id=flow.acme.id, requested_at=flow.clock.now()
        )
    )
    flow.run_with_retries()

    assert isinstance(flow.row("img_1"), Tombstone)
    assert flow.objects() == set()
    assert flow.dead_letters.letters == {}


def test_a_failure_of_an_older_generation_changes_nothing(flow: Flow) -> None:
    event = flow.accept("img_1")
    flow.records[UPLOADED].clear()
    flow.send(event.model_copy(update={"generation": 2}))
    flow.deliver(UPLOADED)
    flow.send(failure(retryable=False, generation=1))
    flow.send(failure(retryable=True, generation=1))
    flow.deliver(FAILED)

    assert (flow.row("img_1").generation, flow.row("img_1").step) == (2, Step.PREPROCESSED)
    assert flow.retries.messages == {}
    assert len(flow.pending.overdue(START + timedelta(days=9), START, 10)) == 1


def test_a_failed_usage_event_is_counted_once_after_all(flow: Flow) -> None:
    record, broken = flow.usage.record, True

    def break_first(entries: Sequence[tuple[str, str, str, float, datetime]]) -> None:
        nonlocal broken
        record(entries)
        if broken:
            broken = False
            raise ZeroDivisionError

    flow.usage.record = break_first  # type: ignore[method-assign]
    usage = TenantUsage(
        tenant_id=flow.acme.id, metric="images.completed", quantity=1, unit="images", occurred_at=flow.clock.now()
    )
    flow.send(usage, "e1")
    flow.run_with_retries()

    assert flow.usage.of("images.completed") == 1


def test_a_retried_record_is_as_it_was(flow: Flow) -> None:
    deny(flow, times=1)
    flow.accept("img_1")
    (first,) = flow.records[UPLOADED]
    flow.run()
    flow.clock.skip(timedelta(minutes=16))
    flow.retry()

    (again,) = flow.records[UPLOADED]
    assert again["value"] == first["value"]
    assert {name for header in again["headers"] for name in header} == {"deeplens-event-id", "deeplens-attempt"}


def failure(*, retryable: bool, generation: int | None = None, **source: Any) -> ProcessingFailed:
    where: dict[str, Any] = {"topic": UPLOADED, "partition": 0, "offset": 0, "value": b64encode(b"{}").decode()}
    record = SourceRecord(**where | source)
    return ProcessingFailed(
        image_id="img_1",
        tenant_id="tenant_acme",
        error=Failure(code="X", message="x", retryable=retryable),
        failed_at=START,
        attempt_number=1,
        generation=generation,
        stage="preprocess",
        source=record,
    )


@pytest.mark.parametrize(
    "source",
    [
        {"value": None},
        {"value": "not base64!"},
        {"value": "e30=", "key": "§"},
        {"value": "A" * 200_000},
        {"topic": "elsewhere"},
        {"topic": FAILED},
    ],
    ids=str,
)
def test_what_cannot_be_sent_again_fails_for_good(flow: Flow, source: dict[str, Any]) -> None:
    flow.accept("img_1")
    flow.records[UPLOADED].clear()
    flow.send(failure(retryable=True, **source))
    flow.run()

    assert flow.retries.messages == {}
    assert flow.row("img_1").step is Step.FAILED
    assert len(flow.dead_letters.letters) == 1


def test_a_failure_without_its_record_is_kept_as_it_is(flow: Flow) -> None:
    flow.accept("img_1")
    flow.records[UPLOADED].clear()
    flow.send(failure(retryable=True).model_copy(update={"source": None}), "e1")
    flow.run()

    assert flow.row("img_1").step is Step.FAILED
    assert [letter.source for letter in flow.dead_letters.letters.values()] == [None]


def test_a_tenants_database_that_is_away_keeps_only_its_own_failures_waiting(flow: Flow) -> None:
    find, away = flow.images.find, True

    def away_for_acme(owner: Any, ids: Sequence[str]) -> Any:
        if away and owner.id == flow.acme.id:
            raise StoreUnavailable("away")
        return find(owner, ids)

    flow.accept("img_1")
    flow.accept("img_2", owner=flow.other)
    flow.records[UPLOADED].clear()
    flow.send(failure(retryable=False).model_copy(update={"image_id": "img_2", "tenant_id": flow.other.id}))
    flow.send(failure(retryable=False))
    flow.images.find = away_for_acme  # type: ignore[method-assign]
    flow.deliver(FAILED)

    assert find(flow.other, ["img_2"])["img_2"].step is Step.FAILED
    assert len(flow.records[FAILED]) == 1
    away = False
    flow.run()
    assert flow.row("img_1").step is Step.FAILED


def test_a_target_models_failure_waits_without_touching_its_image(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    target = ModelRef("deeplens-visual", "2", 12)
    flow.accept("img_1")
    flow.run()
    tenant = flow.tenants.get(flow.acme.id)
    monkeypatch.setattr(flow.tenants, "get", lambda *_, **__: replace(tenant, target=target))
    event = failure(retryable=True).model_copy(update={"model": target.name, "model_version": target.version})
    flow.send(event)
    flow.deliver(FAILED)

    assert len(flow.retries.messages) == 1
    assert flow.row("img_1").step is Step.COMPLETED
    assert not [entry for entry in flow.images.timeline(flow.acme, "img_1") if entry.error_code]


@pytest.mark.parametrize(
    "body", ["", "{}", "no json", "[]", '{"record": {}}', '{"record": {"topic": "t", "partition": 0, "offset": 0}}']
)
def test_an_unreadable_message_becomes_a_dead_letter_and_holds_nothing_up(flow: Flow, body: str) -> None:
    deny(flow, times=1)
    flow.accept("img_1")
    flow.run()
    flow.clock.skip(timedelta(minutes=16))
    event = {"Records": [message(body, "poison"), *flow.retries.receive()]}
    answer = flow.on_retry_due(event, no_report)
    flow.forward()
    flow.run()

    assert answer == {"batchItemFailures": []}
    assert flow.row("img_1").step is Step.COMPLETED
    (letter,) = flow.dead_letters.letters.values()
    assert (letter.error_code, letter.source and letter.source.topic) == ("INVALID_EVENT", "RetryQueue")


def test_what_the_queue_gives_up_is_kept_with_its_record(flow: Flow) -> None:
    deny(flow, times=1)
    flow.accept("img_1")
    flow.run()
    arn = "arn:aws:sqs:us-east-1:000000000000:UndeliverableRetries"
    redriven = [message | {"eventSourceARN": arn} for message in flow.retries.receive()]
    (handler,) = flow.handlers["deeplens.processing.deadletter"]
    for _ in range(2):
        event = {"Records": [*redriven, message("no json", "poison", arn)]}
        assert handler(event, no_report) == {"batchItemFailures": []}

    letters = {letter.error_code: letter for letter in flow.dead_letters.letters.values()}
    assert letters.keys() == {"RETRY_UNDELIVERABLE", "UNREADABLE_DEAD_LETTER"}
    kept = letters["RETRY_UNDELIVERABLE"]
    assert (kept.tenant_id, kept.image_id, kept.stage) == (flow.acme.id, "img_1", "preprocess")
    assert kept.source
    assert kept.source.topic == UPLOADED


def test_an_error_that_never_passes_is_not_retried(flow: Flow) -> None:
    assert ImageNotFound.retryable is False
    event = flow.accept("img_1")
    flow.records[UPLOADED].clear()
    flow.send(event.model_copy(update={"image_id": "img_unknown"}))
    flow.run()

    assert flow.retries.messages == {}
    assert [letter.error_code for letter in flow.dead_letters.letters.values()] == ["IMAGE_NOT_FOUND"]


def replay(flow: Flow, **options: bool) -> list[str | None]:
    """What an operator does with every open dead letter; returns the refusals."""
    renew = Renew(flow.images, AdmitImages(flow.pending, flow.pending_due, flow.clock), flow.clock)
    again = Replay(flow.tenants, flow.images, renew, flow.dead_letters, flow.publisher, flow.clock)
    verdicts = again(flow.dead_letters.page(DeadLetterFilter(state="open"), None, 100), **options)
    flow.forward()
    return [verdict.refused for verdict in verdicts]


def test_a_replayed_image_completes_and_its_letter_is_settled(flow: Flow) -> None:
    deny(flow, times=INTERACTIVE_RETRY.attempts)
    flow.accept("img_1")
    flow.run_with_retries()
    assert flow.row("img_1").step is Step.FAILED

    assert replay(flow) == [None]
    assert (flow.row("img_1").step, flow.row("img_1").generation) == (Step.ACCEPTED, 2)
    flow.run_with_retries()
    assert flow.row("img_1").step is Step.COMPLETED
    assert replay(flow) == []
    assert flow.pending.overdue(START + timedelta(days=9), START, 10) == []


def test_what_fails_after_every_replay_is_stopped_by_the_guard(flow: Flow) -> None:
    deny(flow, times=10_000)
    flow.accept("img_1")
    flow.run_with_retries()
    for _ in range(MAX_REPLAYS):
        assert replay(flow) == [None]
        flow.run_with_retries()

    assert replay(flow) == [f"it failed again after {MAX_REPLAYS} replays"]
    assert flow.row("img_1").step is Step.FAILED
    assert len(flow.dead_letters.letters) == 1 + MAX_REPLAYS
    assert replay(flow, force=True) == [None]


def test_a_replayed_poison_record_fails_again_and_counts(flow: Flow) -> None:
    flow.put(UPLOADED, b"no event")
    flow.run()
    for count in range(1, MAX_REPLAYS + 1):
        assert replay(flow) == [None]
        flow.run()
        newest = [letter for letter in flow.dead_letters.kept.values() if letter.state == "open"]
        assert [letter.replays_in_all for letter in newest] == [count]
    assert replay(flow) != [None]
