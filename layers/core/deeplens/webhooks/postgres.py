"""Webhooks of all tenants and their deliveries, in the platform database."""

from collections.abc import Sequence
from datetime import datetime

from deeplens.database.connections import Connection, PlatformAdapter
from deeplens.database.rows import columns_of, insert_into, parameters_of, record_of
from deeplens.database.values import as_jsonb, as_text
from deeplens.events.notifications import TenantNotification
from deeplens.webhooks.model import Answer, Delivery, Verdict, Webhook, body_of, delivery_id

WEBHOOK, DELIVERY = columns_of(Webhook), columns_of(Delivery)
OF_TENANT = f"SELECT {WEBHOOK} FROM webhooks WHERE tenant_id = %s ORDER BY id"  # noqa: S608
FIND = f"SELECT {WEBHOOK} FROM webhooks WHERE tenant_id = %s AND id = %s"  # noqa: S608
SAVE = f"""
{insert_into("webhooks", Webhook)}
ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in WEBHOOK.split(", ")[2:])}
"""
REMOVE = "DELETE FROM webhooks WHERE tenant_id = %s AND id = %s"
NOTIFIED = """
UPDATE tenants t SET notified = coalesce((
    SELECT array_agg(DISTINCT e.type ORDER BY e.type) FROM webhooks w, unnest(w.events) AS e(type)
    WHERE w.tenant_id = t.id AND w.enabled), '{}')
WHERE t.id = %s
"""
"""Keeps in the tenant's row, for the pipeline, which notifications its webhooks want."""
RECORD = """
INSERT INTO webhook_deliveries (id, webhook_id, tenant_id, event_id, type, body, created_at, next_at, state, attempts)
SELECT d.id, w.id, d.tenant_id, d.event_id, d.type, d.body, %(now)s, greatest(%(now)s, w.paused_until), 'waiting', 0
FROM jsonb_to_recordset(%(deliveries)s) AS d(
    id text, webhook_id text, tenant_id text, event_id text, type text, body text)
JOIN webhooks w ON w.id = d.webhook_id
ON CONFLICT (id) DO NOTHING
"""
WANTED = "SELECT id, tenant_id, events FROM webhooks WHERE tenant_id = ANY(%s) AND enabled"
ADD = f"{insert_into('webhook_deliveries', Delivery)} ON CONFLICT (id) DO NOTHING"
CLAIM = f"""
WITH claimed AS (
    UPDATE webhook_deliveries d SET next_at = %(until)s FROM webhooks w
    WHERE d.id = ANY(%(ids)s) AND d.state = 'waiting' AND d.next_at <= %(now)s AND w.id = d.webhook_id AND w.enabled
    RETURNING d.*
)
SELECT {columns_of(Delivery, "c.")}, {", ".join(f"w.{name} AS w_{name}" for name in WEBHOOK.split(", "))}
FROM claimed c JOIN webhooks w ON w.id = c.webhook_id
"""  # noqa: S608
SETTLE = """
UPDATE webhook_deliveries SET state = %(state)s, attempts = attempts + 1, next_at = coalesce(%(next_at)s, next_at),
       last_status = %(status)s, last_error = %(error)s, delivered_at = %(delivered_at)s
WHERE id = %(id)s
"""
SUCCEEDED = """
UPDATE webhooks SET failures = 0, failing_since = NULL, paused_until = NULL WHERE id = %s AND failing_since IS NOT NULL
"""
FAILED = """
UPDATE webhooks SET failures = failures + 1, failing_since = coalesce(failing_since, %(now)s),
       paused_until = %(paused_until)s, enabled = enabled AND %(disable)s::text IS NULL,
       disabled_reason = coalesce(%(disable)s, disabled_reason)
WHERE id = %(id)s
"""
PAUSE = "UPDATE webhook_deliveries SET next_at = %s WHERE webhook_id = %s AND state = 'waiting' AND next_at < %s"
END = "UPDATE webhook_deliveries SET state = 'failed' WHERE webhook_id = %s AND state = 'waiting'"
RELEASE = "UPDATE webhook_deliveries SET next_at = %s WHERE id = ANY(%s) AND state = 'waiting'"
OVERDUE = f"""
SELECT {DELIVERY} FROM webhook_deliveries WHERE state = 'waiting' AND next_at <= %s ORDER BY next_at LIMIT %s
"""  # noqa: S608
DELIVERIES = f"""
SELECT {DELIVERY} FROM webhook_deliveries WHERE tenant_id = %s AND webhook_id = %s ORDER BY created_at DESC, id LIMIT %s
"""  # noqa: S608
REDELIVER = f"""
UPDATE webhook_deliveries SET state = 'waiting', attempts = 0, next_at = %s, delivered_at = NULL
WHERE tenant_id = %s AND webhook_id = %s AND id = %s RETURNING {DELIVERY}
"""  # noqa: S608
FORGET = """
DELETE FROM webhook_deliveries WHERE id IN (
    SELECT id FROM webhook_deliveries WHERE state <> 'waiting' AND created_at < %s ORDER BY created_at LIMIT %s)
"""


class PostgresWebhooks(PlatformAdapter):
    """``Webhooks`` on psycopg."""

    def of_tenant(self, tenant_id: str) -> list[Webhook]:
        return [record_of(Webhook, row) for row in self._rows(OF_TENANT, [tenant_id])]

    def find(self, tenant_id: str, webhook_id: str) -> Webhook | None:
        row = self._row(FIND, [tenant_id, as_text(webhook_id)])
        return record_of(Webhook, row) if row else None

    def save(self, webhook: Webhook) -> None:
        with self._platform() as connection, connection.transaction():
            connection.execute(SAVE, parameters_of(webhook))
            connection.execute(NOTIFIED, [webhook.tenant_id])

    def remove(self, tenant_id: str, webhook_id: str) -> bool:
        with self._platform() as connection, connection.transaction():
            removed = connection.execute(REMOVE, [tenant_id, as_text(webhook_id)]).rowcount == 1
            connection.execute(NOTIFIED, [tenant_id])
        return removed

    def record(self, notifications: Sequence[TenantNotification], now: datetime) -> list[str]:
        if not notifications:
            return []
        webhooks = self._rows(WANTED, [sorted({event.tenant_id for event in notifications})])
        deliveries = [
            {
                "id": delivery_id(webhook["id"], event.event_id),
                "webhook_id": webhook["id"],
                "tenant_id": event.tenant_id,
                "event_id": event.event_id,
                "type": event.type,
                "body": body_of(event),
            }
            for event in notifications
            for webhook in webhooks
            if webhook["tenant_id"] == event.tenant_id and event.type in webhook["events"]
        ]
        if deliveries:
            self._execute(RECORD, {"deliveries": as_jsonb(deliveries), "now": now})
        return [delivery["id"] for delivery in deliveries]

    def add(self, delivery: Delivery) -> None:
        self._execute(ADD, parameters_of(delivery))

    def claim(self, delivery_ids: Sequence[str], now: datetime, until: datetime) -> list[tuple[Webhook, Delivery]]:
        if not delivery_ids:
            return []
        rows = self._rows(CLAIM, {"ids": list(delivery_ids), "now": now, "until": until})
        return [(record_of(Webhook, row, "w_"), record_of(Delivery, row)) for row in rows]

    def settle(self, delivery: Delivery, verdict: Verdict, answer: Answer, now: datetime) -> None:
        values = {
            "id": delivery.id,
            "state": verdict.state,
            "next_at": verdict.next_at,
            "status": answer.status,
            "error": answer.error and as_text(answer.error)[:500],
            "delivered_at": now if verdict.state == "delivered" else None,
        }
        with self._platform() as connection, connection.transaction():
            # The webhook first, as its other senders do: two of them never wait for each other.
            if verdict.state == "delivered":
                connection.execute(SUCCEEDED, [delivery.webhook_id])
            else:
                _fail(connection, delivery, verdict, now)
            connection.execute(SETTLE, values)

    def release(self, delivery_ids: Sequence[str], next_at: datetime) -> None:
        if delivery_ids:
            self._execute(RELEASE, [next_at, list(delivery_ids)])

    def overdue(self, now: datetime, limit: int) -> list[Delivery]:
        return [record_of(Delivery, row) for row in self._rows(OVERDUE, [now, limit])]

    def deliveries(self, tenant_id: str, webhook_id: str, limit: int) -> list[Delivery]:
        return [record_of(Delivery, row) for row in self._rows(DELIVERIES, [tenant_id, as_text(webhook_id), limit])]

    def redeliver(self, tenant_id: str, webhook_id: str, delivery_id: str, now: datetime) -> Delivery | None:
        row = self._row(REDELIVER, [now, tenant_id, as_text(webhook_id), as_text(delivery_id)])
        return record_of(Delivery, row) if row else None

    def forget(self, before: datetime, limit: int) -> int:
        return self._execute(FORGET, [before, limit])


def _fail(connection: Connection, delivery: Delivery, verdict: Verdict, now: datetime) -> None:
    """Count the failure, and disable the webhook or delay its other deliveries."""
    webhook_id, paused_until = delivery.webhook_id, verdict.paused_until
    connection.execute(FAILED, {"id": webhook_id, "now": now, "paused_until": paused_until, "disable": verdict.disable})
    if verdict.disable:
        connection.execute(END, [webhook_id])
        connection.execute(NOTIFIED, [delivery.tenant_id])
    elif paused_until:
        connection.execute(PAUSE, [paused_until, webhook_id, paused_until])
