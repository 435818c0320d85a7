"""What the pipeline meters: each upload, embedding and completion once, whatever comes twice or comes again."""

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from deeplens.common.stage import Failed
from deeplens.errors import InvalidEvent
from deeplens.events.usage import TenantUsage
from deeplens.usage.meter import Meter
from deeplens.usage.model import COUNTED_WITHIN, Budget, month_of, usage_event
from deeplens.usage.tick import TickBudgets, TickUsage
from deeplens.webhooks.model import Webhook

from tests.harness.api import START, picture
from tests.harness.flow import Flow

USAGE, UPLOADED = "deeplens.tenant.usage", "deeplens.images.uploaded"


@pytest.fixture
def flow() -> Flow:
    return Flow()


def totals(flow: Flow, *metrics: str) -> list[float]:
    return [flow.usage.of(metric) for metric in metrics]


def test_every_upload_and_embedding_is_metered(flow: Flow) -> None:
    sizes = [
        len(flow.stores.for_tenant(flow.acme).get(f"images/{flow.accept(f'img_{n}').image_id}.jpg")) for n in range(3)
    ]
    flow.accept("img_theirs", owner=flow.other)
    flow.run()

    assert totals(flow, "images.uploaded", "images.completed", "embeddings") == [4, 4, 4]
    mine = {key[2]: quantity for key, quantity in flow.usage.totals.items() if key[0] == flow.acme.id}
    assert mine["bytes.uploaded"] == sum(sizes)
    assert mine["images.uploaded"] == 3
    assert mine["inference.ms"] > 0


def test_an_upload_that_fails_is_an_upload(flow: Flow) -> None:
    flow.accept("img_bad", body=picture(1)[:200])
    flow.run()

    assert totals(flow, "images.uploaded", "images.completed", "embeddings") == [1, 0, 0]


def test_an_image_that_was_sent_again_is_metered_once(flow: Flow) -> None:
    """As the schedule does when it takes too long: the same image comes of two events."""
    event = flow.accept("img_1")
    flow.send(event)
    flow.send(event, "another lineage")
    flow.run()
    flow.send(event, "and later")
    flow.run()

    assert totals(flow, "images.uploaded", "images.completed", "embeddings") == [1, 1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_a_replay_of_the_topic_changes_no_total(flow: Flow, seed: int) -> None:
    kept: list[Any] = []
    flow.accept("img_1")
    flow.accept("img_2")
    flow.accept("img_bad", body=picture(1)[:200])
    flow.request_counters.count(flow.acme.id, START - timedelta(hours=1))
    flow.run(before=lambda topic: kept.extend(flow.records[topic] if topic == USAGE else []))
    before = dict(flow.usage.totals)
    again = [record for record in kept for _ in range(2)]
    random.Random(seed).shuffle(again)

    flow.records[USAGE].extend(again)
    flow.run()

    assert len(kept) >= 7
    assert dict(flow.usage.totals) == before


def metered(flow: Flow, events: Sequence[TenantUsage]) -> list[Any]:
    return list(Meter(flow.tenants, flow.usage, flow.clock)(events))


def test_what_is_older_than_ids_are_kept_is_not_counted(flow: Flow) -> None:
    ages = (COUNTED_WITHIN + timedelta(days=1), COUNTED_WITHIN - timedelta(days=1), timedelta(0))
    outcomes = metered(flow, [usage_event(flow.acme.id, {"m": 1}, START - age, f"e{n}") for n, age in enumerate(ages)])

    assert [outcome.dropped is None for outcome in outcomes] == [False, True, True]
    assert flow.usage.of("m") == 2


def test_what_is_from_the_future_is_refused(flow: Flow) -> None:
    (near, far) = metered(
        flow, [usage_event(flow.acme.id, {"m": 1}, START + timedelta(hours=h), f"e{h}") for h in (1, 49)]
    )

    assert near.events == ()
    assert isinstance(far, Failed)
    assert isinstance(far.error, InvalidEvent)
    assert flow.usage.of("m") == 1


def test_storage_is_measured_where_something_changed(flow: Flow) -> None:
    flow.accept("img_1")
    flow.run()
    flow.usage.changed[flow.acme.id] = flow.clock.now()
    tick = TickUsage(flow.usage, flow.measured_every, flow.clock)

    events = tick()
    assert [event.tenant_id for event in tick()] == [flow.acme.id]  # until they are known to be on their way
    tick.delivered(events)
    for event in events:
        flow.send(event, "m1")
    flow.run()

    stored = flow.images.totals(flow.acme)
    assert totals(flow, "storage.bytes", "storage.images") == [stored.bytes, 1]
    assert tick() == []
    flow.clock.skip(timedelta(minutes=16))
    assert [event.tenant_id for event in tick()] == [flow.acme.id]  # a change may be noted ten minutes late
    tick.delivered(tick())
    flow.clock.skip(timedelta(minutes=16))
    assert tick() == []


def test_a_budget_is_told_once_per_threshold_and_month(flow: Flow) -> None:
    tick = TickBudgets(flow.budgets, flow.clock)
    flow.webhooks.save(Webhook("whk_1", flow.acme.id, "https://example.com", ("usage.budget",), START))
    flow.budgets.save(flow.acme.id, [Budget("searches", 10, (50, 80), "pause")], month_of(START))

    def use(quantity: float, event_id: str) -> list[int]:
        metered(flow, [usage_event(flow.acme.id, {"searches": quantity}, flow.clock.now(), event_id)])
        events = tick()
        assert [event.event_id for event in tick()] == [event.event_id for event in events]  # nobody knows yet
        tick.delivered(events)
        return [event.details["percent"] for event in events]

    assert use(4, "e1") == []
    assert use(4, "e2") == [50, 80]
    assert use(1, "e3") == []
    assert use(1, "e4") == [100]
    paused = flow.tenants.get(flow.acme.id).paused
    assert paused
    assert (paused.metric, paused.until.isoformat()) == ("searches", "2026-12-01T00:00:00+00:00")
    flow.clock.skip(timedelta(days=11))
    assert use(6, "e5") == [50]
    assert flow.tenants.get(flow.acme.id).paused is None
    assert flow.tenants.get(flow.other.id).paused is None


def test_a_tenant_that_listens_later_is_told_then(flow: Flow) -> None:
    tick = TickBudgets(flow.budgets, flow.clock)
    flow.budgets.save(flow.acme.id, [Budget("searches", 10)], month_of(START))
    metered(flow, [usage_event(flow.acme.id, {"searches": 9}, flow.clock.now(), "e1")])
    assert tick() == []

    flow.webhooks.save(Webhook("whk_1", flow.acme.id, "https://example.com", ("usage.budget",), START))

    assert [event.details["percent"] for event in tick()] == [80]
