"""Webhooks of all tenants and what was sent to them, in the platform database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from deeplens.database.connections import Connection, Connections
from deeplens.database.values import as_jsonb, as_text
from deeplens.events.notifications import TenantNotification
from deeplens.webhooks.model import Answer, Delivery, Verdict, Webhook, body_of, delivery_id

HOOK = (
    "id, tenant_id, url, events, created_at, enabled, disabled_reason, secret_version, previous_until, failing_since, "
    "failures, paused_until"
)
SENT = (
    "id, webhook_id, tenant_id, event_id, type, body, created_at, next_at, state, attempts, last_status, last_error, "
    "delivered_at"
)
OF_TENANT = f"SELECT {HOOK} FROM webhooks WHERE tenant_id = %s ORDER BY id"  # noqa: S608
FIND = f"SELECT {HOOK} FROM webhooks WHERE tenant_id = %s AND id = %s"  # noqa: S608
SAVE = f"""
INSERT INTO webhooks ({HOOK}) VALUES ({", ".join(f"%({name})s" for name in HOOK.split(", "))})
ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in HOOK.split(", ")[2:])}
"""  # noqa: S608
REMOVE = "DELETE FROM webhooks WHERE tenant_id = %s AND id = %s"
NOTIFIED = """
UPDATE tenants t SET notified = coalesce((
    SELECT array_agg(DISTINCT wanted.type ORDER BY wanted.type) FROM webhooks w, unnest(w.events) AS wanted(type)
    WHERE w.tenant_id = t.id AND w.enabled), '{}')
WHERE t.id = %s
"""
"""What the pipeline reads in the tenant's row: which notifications anybody wants."""
RECORD = """
INSERT INTO webhook_deliveries (id, webhook_id, tenant_id, event_id, type, body, created_at, next_at, state, attempts)
SELECT g.id, w.id, g.tenant_id, g.event_id, g.type, g.body, %(now)s, greatest(%(now)s, w.paused_until), 'waiting', 0
FROM jsonb_to_recordset(%(given)s) AS g(
    id text, webhook_id text, tenant_id text, event_id text, type text, body text)
JOIN webhooks w ON w.id = g.webhook_id
ON CONFLICT (id) DO NOTHING
"""
WANTING = "SELECT id, tenant_id, events FROM webhooks WHERE tenant_id = ANY(%s) AND enabled"
ADD = f"""
INSERT INTO webhook_deliveries ({SENT}) VALUES ({", ".join(f"%({name})s" for name in SENT.split(", "))})
ON CONFLICT (id) DO NOTHING
"""  # noqa: S608
CLAIM = f"""
WITH claimed AS (
    UPDATE webhook_deliveries d SET next_at = %(until)s FROM webhooks w
    WHERE d.id = ANY(%(ids)s) AND d.state = 'waiting' AND d.next_at <= %(now)s AND w.id = d.webhook_id AND w.enabled
    RETURNING d.*
)
SELECT {", ".join("c." + name for name in SENT.split(", "))},
       {", ".join(f"w.{name} AS w_{name}" for name in HOOK.split(", "))}
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
SELECT {SENT} FROM webhook_deliveries WHERE state = 'waiting' AND next_at <= %s ORDER BY next_at LIMIT %s
"""  # noqa: S608
DELIVERIES = f"""
SELECT {SENT} FROM webhook_deliveries WHERE tenant_id = %s AND webhook_id = %s ORDER BY created_at DESC, id LIMIT %s
"""  # noqa: S608
AGAIN = f"""
UPDATE webhook_deliveries SET state = 'waiting', attempts = 0, next_at = %s, delivered_at = NULL
WHERE tenant_id = %s AND webhook_id = %s AND id = %s RETURNING {SENT}
"""  # noqa: S608
FORGET = """
DELETE FROM webhook_deliveries WHERE id IN (
    SELECT id FROM webhook_deliveries WHERE state <> 'waiting' AND created_at < %s ORDER BY created_at LIMIT %s)
"""


class PostgresWebhooks:
    """``Webhooks`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def of_tenant(self, tenant_id: str) -> list[Webhook]:
        with self._connections.platform() as connection:
            return [_webhook(row) for row in connection.execute(OF_TENANT, [tenant_id])]

    def find(self, tenant_id: str, webhook_id: str) -> Webhook | None:
        with self._connections.platform() as connection:
            row = connection.execute(FIND, [tenant_id, as_text(webhook_id)]).fetchone()
        return _webhook(row) if row else None

    def save(self, webhook: Webhook) -> None:
        values = {name: getattr(webhook, name) for name in webhook.__slots__} | {"events": list(webhook.events)}
        with self._connections.platform() as connection, connection.transaction():
            connection.execute(SAVE, values)
            connection.execute(NOTIFIED, [webhook.tenant_id])

    def remove(self, tenant_id: str, webhook_id: str) -> bool:
        with self._connections.platform() as connection, connection.transaction():
            removed = connection.execute(REMOVE, [tenant_id, as_text(webhook_id)]).rowcount == 1
            connection.execute(NOTIFIED, [tenant_id])
        return removed

    def record(self, notifications: Sequence[TenantNotification], now: datetime) -> list[str]:
        if not notifications:
            return []
        with self._connections.platform() as connection:
            wanting = connection.execute(WANTING, [sorted({one.tenant_id for one in notifications})]).fetchall()
            given = [
                {
                    "id": delivery_id(row["id"], one.event_id),
                    "webhook_id": row["id"],
                    "tenant_id": one.tenant_id,
                    "event_id": one.event_id,
                    "type": one.type,
                    "body": body_of(one),
                }
                for one in notifications
                for row in wanting
                if row["tenant_id"] == one.tenant_id and one.type in row["events"]
            ]
            if given:
                connection.execute(RECORD, {"given": as_jsonb(given), "now": now})
        return [one["id"] for one in given]

    def add(self, delivery: Delivery) -> None:
        with self._connections.platform() as connection:
            connection.execute(ADD, {name: getattr(delivery, name) for name in delivery.__slots__})

    def claim(self, delivery_ids: Sequence[str], now: datetime, until: datetime) -> list[tuple[Webhook, Delivery]]:
        if not delivery_ids:
            return []
        with self._connections.platform() as connection:
            rows = connection.execute(CLAIM, {"ids": list(delivery_ids), "now": now, "until": until}).fetchall()
        return [(_webhook(row, "w_"), _delivery(row)) for row in rows]

    def settle(self, delivery: Delivery, verdict: Verdict, answer: Answer, now: datetime) -> None:
        values = {
            "id": delivery.id,
            "state": verdict.state,
            "next_at": verdict.next_at,
            "status": answer.status,
            "error": answer.error and as_text(answer.error)[:500],
            "delivered_at": now if verdict.state == "delivered" else None,
        }
        with self._connections.platform() as connection, connection.transaction():
            # The webhook first, as its other senders do: two of them never wait for each other.
            if verdict.state == "delivered":
                connection.execute(SUCCEEDED, [delivery.webhook_id])
            else:
                _fail(connection, delivery, verdict, now)
            connection.execute(SETTLE, values)

    def release(self, delivery_ids: Sequence[str], next_at: datetime) -> None:
        if delivery_ids:
            with self._connections.platform() as connection:
                connection.execute(RELEASE, [next_at, list(delivery_ids)])

    def overdue(self, now: datetime, limit: int) -> list[Delivery]:
        with self._connections.platform() as connection:
            return [_delivery(row) for row in connection.execute(OVERDUE, [now, limit])]

    def deliveries(self, tenant_id: str, webhook_id: str, limit: int) -> list[Delivery]:
        with self._connections.platform() as connection:
            rows = connection.execute(DELIVERIES, [tenant_id, as_text(webhook_id), limit]).fetchall()
        return [_delivery(row) for row in rows]

    def again(self, tenant_id: str, webhook_id: str, delivery_id: str, now: datetime) -> Delivery | None:
        with self._connections.platform() as connection:
            row = connection.execute(AGAIN, [now, tenant_id, as_text(webhook_id), as_text(delivery_id)]).fetchone()
        return _delivery(row) if row else None

    def forget(self, before: datetime, limit: int) -> int:
        with self._connections.platform() as connection:
            return connection.execute(FORGET, [before, limit]).rowcount


def _fail(connection: Connection, delivery: Delivery, verdict: Verdict, now: datetime) -> None:
    values = {
        "id": delivery.webhook_id,
        "now": now,
        "paused_until": verdict.paused_until,
        "disable": verdict.disable,
    }
    connection.execute(FAILED, values)
    if verdict.disable:
        connection.execute(END, [delivery.webhook_id])
        connection.execute(NOTIFIED, [delivery.tenant_id])
    elif verdict.paused_until:
        connection.execute(PAUSE, [verdict.paused_until, delivery.webhook_id, verdict.paused_until])


def _webhook(row: dict[str, Any], prefix: str = "") -> Webhook:
    values = {name: row[prefix + name] for name in HOOK.split(", ")}
    return Webhook(**values | {"events": tuple(values["events"])})


def _delivery(row: dict[str, Any]) -> Delivery:
    return Delivery(**{name: row[name] for name in SENT.split(", ")})
