"""Webhooks and their deliveries, of the fake as of PostgreSQL: each event once, to whoever wants it."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deeplens.database.connections import Connections
from deeplens.events.notifications import TenantNotification
from deeplens.tenants.directory import PostgresDirectory
from deeplens.tenants.model import Tenant
from deeplens.tenants.postgres import PostgresTenantRecords
from deeplens.webhooks.model import Answer, Delivery, Verdict, Webhook, Webhooks
from deeplens.webhooks.postgres import PostgresWebhooks

from tests.fakes.webhooks import FakeWebhooks

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
_numbers = itertools.count(1)

type NewTenant = Callable[[], Tenant]


@pytest.fixture(params=["fake", "postgres"])
def webhooks(request: pytest.FixtureRequest) -> Webhooks:
    return FakeWebhooks() if request.param == "fake" else PostgresWebhooks(request.getfixturevalue("connections"))


def hook(webhooks: Webhooks, tenant: Tenant, *events: str, **changes: Any) -> Webhook:
    made = Webhook(f"whk_{next(_numbers):06}", tenant.id, "https://example.com/süß", events or ("image.failed",), NOON)
    webhooks.save(replace(made, **changes))
    return replace(made, **changes)


def told(tenant: Tenant, event_id: str = "", type: str = "image.failed") -> TenantNotification:
    return TenantNotification(
        tenant_id=tenant.id,
        type=type,
        occurred_at=NOON,
        image_id="img_1",
        details={"error": {"code": "X"}},
        event_id=event_id or f"event-{next(_numbers)}",
    )


def only(webhooks: Webhooks, of: Webhook) -> Delivery:
    (found,) = webhooks.deliveries(of.tenant_id, of.id, 10)
    return found


def claimed(webhooks: Webhooks, ids: list[str], at: datetime = NOON) -> list[str]:
    return sorted(delivery.id for _, delivery in webhooks.claim(ids, at, at + 5 * MINUTE))


def test_a_webhook_reads_back_as_it_was_kept(webhooks: Webhooks, tenant: Tenant, new_tenant: NewTenant) -> None:
    made = hook(webhooks, tenant, "image.completed", "image.failed", secret_version=3, previous_until=NOON)
    assert webhooks.find(tenant.id, made.id) == made
    changed = replace(made, url="https://example.org/", enabled=False, disabled_reason="410", failures=2)
    webhooks.save(changed)
    assert webhooks.of_tenant(tenant.id) == [changed]
    other = new_tenant()
    assert webhooks.find(other.id, made.id) is None
    assert not webhooks.remove(other.id, made.id)
    assert webhooks.remove(tenant.id, made.id)
    assert webhooks.of_tenant(tenant.id) == []


def test_an_event_makes_one_delivery_per_webhook_that_wants_it(
    webhooks: Webhooks, tenant: Tenant, new_tenant: NewTenant
) -> None:
    first, second = hook(webhooks, tenant), hook(webhooks, tenant, "image.failed", "image.completed")
    hook(webhooks, tenant, "image.completed")
    hook(webhooks, tenant, enabled=False)
    hook(webhooks, new_tenant())
    event = told(tenant)
    ids = webhooks.record([event, told(tenant, type="image.seen")], NOON)
    assert sorted(webhooks.record([event], NOON + MINUTE)) == sorted(ids)
    assert len(ids) == 2
    assert {only(webhooks, one).event_id for one in (first, second)} == {event.event_id}
    assert only(webhooks, first).created_at == NOON
    assert webhooks.record([], NOON) == []


def test_a_claimed_delivery_is_nobody_elses_until_its_lease_ends(webhooks: Webhooks, tenant: Tenant) -> None:
    hook(webhooks, tenant)
    ids = webhooks.record([told(tenant)], NOON)
    assert claimed(webhooks, ids, NOON - MINUTE) == []
    assert claimed(webhooks, [*ids, *ids, "whd_none"]) == ids
    assert claimed(webhooks, ids) == []
    assert claimed(webhooks, ids, NOON + 5 * MINUTE) == ids
    webhooks.release(ids, NOON)
    assert claimed(webhooks, ids) == ids
    assert claimed(webhooks, []) == []


def test_a_delivered_message_is_done(webhooks: Webhooks, tenant: Tenant) -> None:
    made = hook(webhooks, tenant, failures=3, failing_since=NOON, paused_until=NOON)
    ids = webhooks.record([told(tenant)], NOON)
    ((_, delivery),) = webhooks.claim(ids, NOON, NOON)
    webhooks.settle(delivery, Verdict("delivered"), Answer(204), NOON + MINUTE)
    kept = only(webhooks, made)
    assert (kept.state, kept.attempts, kept.last_status, kept.delivered_at) == ("delivered", 1, 204, NOON + MINUTE)
    assert claimed(webhooks, ids, NOON + 60 * MINUTE) == []
    sound = webhooks.find(tenant.id, made.id)
    assert sound is not None
    assert (sound.failures, sound.failing_since, sound.paused_until) == (0, None, None)


def test_a_failure_puts_off_everything_of_its_webhook(webhooks: Webhooks, tenant: Tenant) -> None:
    failing, sound = hook(webhooks, tenant), hook(webhooks, tenant)
    ids = webhooks.record([told(tenant), told(tenant)], NOON)
    mine = [delivery.id for delivery in webhooks.deliveries(tenant.id, failing.id, 10)]
    pairs = webhooks.claim(ids, NOON, NOON)
    tried = next(delivery for of, delivery in pairs if of.id == failing.id)
    verdict = Verdict("waiting", NOON + 10 * MINUTE, NOON + 2 * MINUTE)
    webhooks.settle(tried, verdict, Answer(error="timeout\x00"), NOON)
    by_id = {delivery.id: delivery for delivery in webhooks.deliveries(tenant.id, failing.id, 10)}
    assert by_id[tried.id].next_at == NOON + 10 * MINUTE
    assert {one.next_at for one in by_id.values() if one.id != tried.id} == {NOON + 2 * MINUTE}
    later = webhooks.record([told(tenant)], NOON + MINUTE)
    waiting = {delivery.id: delivery.next_at for delivery in webhooks.deliveries(tenant.id, failing.id, 10)}
    assert [waiting[id_] for id_ in later if id_ in waiting] == [NOON + 2 * MINUTE]
    due = {webhook.id for webhook in webhooks.overdue(NOON + MINUTE, 1000)}
    assert not due & set(mine)
    assert due >= {delivery.id for delivery in webhooks.deliveries(tenant.id, sound.id, 10)}
    known = webhooks.find(tenant.id, failing.id)
    assert known is not None
    assert (known.failures, known.failing_since, known.paused_until) == (1, NOON, NOON + 2 * MINUTE)


def test_a_disabled_webhook_ends_what_waited_for_it(webhooks: Webhooks, tenant: Tenant) -> None:
    made = hook(webhooks, tenant)
    ids = webhooks.record([told(tenant), told(tenant)], NOON)
    (_, delivery), _ = webhooks.claim(ids, NOON, NOON)
    webhooks.settle(delivery, Verdict("failed", disable="gone"), Answer(410), NOON)
    known = webhooks.find(tenant.id, made.id)
    assert known is not None
    assert (known.enabled, known.disabled_reason) == (False, "gone")
    assert {delivery.state for delivery in webhooks.deliveries(tenant.id, made.id, 10)} == {"failed"}
    assert webhooks.record([told(tenant)], NOON) == []


def test_a_message_can_be_sent_again(webhooks: Webhooks, tenant: Tenant, new_tenant: NewTenant) -> None:
    made = hook(webhooks, tenant)
    ids = webhooks.record([told(tenant)], NOON)
    ((_, delivery),) = webhooks.claim(ids, NOON, NOON)
    webhooks.settle(delivery, Verdict("delivered"), Answer(200), NOON)
    assert webhooks.redeliver(new_tenant().id, made.id, ids[0], NOON) is None
    again = webhooks.redeliver(tenant.id, made.id, ids[0], NOON + MINUTE)
    assert again is not None
    assert (again.state, again.attempts, again.body) == ("waiting", 0, delivery.body)
    assert claimed(webhooks, ids, NOON + MINUTE) == ids


def test_what_ended_long_ago_is_forgotten(webhooks: Webhooks, tenant: Tenant) -> None:
    made = hook(webhooks, tenant)
    (waiting,) = webhooks.record([told(tenant)], NOON - timedelta(days=400))
    (ended,) = webhooks.record([told(tenant)], NOON - timedelta(days=400))
    ((_, delivery),) = webhooks.claim([ended], NOON, NOON)
    webhooks.settle(delivery, Verdict("delivered"), Answer(200), NOON)
    assert webhooks.forget(NOON - timedelta(days=399), 1000) >= 1
    assert [delivery.id for delivery in webhooks.deliveries(tenant.id, made.id, 10)] == [waiting]


def test_the_tenants_row_says_what_anybody_wants(connections: Connections, tenant: Tenant) -> None:
    webhooks = PostgresWebhooks(connections)

    def notified() -> frozenset[str]:
        return PostgresDirectory(connections, "http://qdrant").get(tenant.id).notified

    assert notified() == frozenset()
    made = hook(webhooks, tenant, "image.failed", "image.completed")
    other = hook(webhooks, tenant, "duplicates.found", "image.failed")
    assert notified() == {"image.failed", "image.completed", "duplicates.found"}
    webhooks.save(replace(other, enabled=False))
    assert notified() == {"image.failed", "image.completed"}
    webhooks.remove(tenant.id, made.id)
    assert notified() == frozenset()


def test_a_deleted_tenant_leaves_no_webhooks(connections: Connections, tenant: Tenant) -> None:
    webhooks = PostgresWebhooks(connections)
    made = hook(webhooks, tenant)
    webhooks.record([told(tenant)], NOON)
    assert PostgresTenantRecords(connections).delete_rows(tenant.id)["webhooks"] == 1
    assert webhooks.of_tenant(tenant.id) == webhooks.deliveries(tenant.id, made.id, 10) == []
