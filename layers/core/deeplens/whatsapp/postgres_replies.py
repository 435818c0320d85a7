"""Replies to chats of WhatsApp on their way, of all tenants, in the platform database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from deeplens.database.connections import Connection, Connections
from deeplens.database.values import as_text
from deeplens.whatsapp.chats import ImageEnd, Reply, text_of
from deeplens.whatsapp.delivery import Verdict

REPLY = (
    "id, tenant_id, chat_jid, message_id, phone_number_id, created_at, next_at, state, text, image_id, file_name, "
    "attempts, last_error, sent_at"
)
IS_THERE = "SELECT to_regclass('whatsapp_replies') IS NOT NULL AS there"
"""Code runs on the schema before its own as well: before the migration no reply is pending."""
CONCERNED = f"""
SELECT {REPLY} FROM whatsapp_replies r JOIN unnest(%s::text[], %s::text[]) AS ended(of_tenant, of_image)
  ON r.tenant_id = ended.of_tenant AND r.image_id = ended.of_image
WHERE r.state IN ('awaiting', 'waiting') ORDER BY r.id FOR UPDATE OF r
"""  # noqa: S608
END = """
UPDATE whatsapp_replies SET state = 'waiting', text = %s, failed = %s, next_at = %s WHERE id = %s AND state = 'awaiting'
"""
AWAITING = f"SELECT {REPLY} FROM whatsapp_replies WHERE id = ANY(%s) AND state = 'awaiting'"  # noqa: S608
CLAIM = f"""
UPDATE whatsapp_replies r SET next_at = %(until)s FROM whatsapp_chats c
WHERE r.id = ANY(%(ids)s) AND r.state = 'waiting' AND r.next_at <= %(now)s
  AND c.jid = r.chat_jid AND c.tenant_id = r.tenant_id
RETURNING {", ".join("r." + name for name in REPLY.split(", "))}
"""  # noqa: S608
SETTLE = """
UPDATE whatsapp_replies SET state = %(state)s, attempts = attempts + 1, next_at = coalesce(%(next_at)s, next_at),
       last_error = %(error)s, sent_at = %(sent_at)s
WHERE id = %(id)s
"""
PUT_OFF = "UPDATE whatsapp_replies SET next_at = %s WHERE id = ANY(%s) AND state IN ('awaiting', 'waiting')"
OVERDUE = f"""
SELECT {REPLY} FROM whatsapp_replies WHERE state IN ('awaiting', 'waiting') AND next_at <= %s ORDER BY next_at LIMIT %s
"""  # noqa: S608


class PostgresReplies:
    """``Replies`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._there = False

    def end(self, ended: Sequence[ImageEnd], now: datetime) -> list[Reply]:
        by_image = {(one.tenant_id, one.image_id): one for one in ended}
        if not by_image:
            return []
        with self._connections.platform() as connection, connection.transaction():
            if not self._is_there(connection):
                return []
            columns = [[tenant_id for tenant_id, _ in by_image], [image_id for _, image_id in by_image]]
            found = [reply_of(row) for row in connection.execute(CONCERNED, columns).fetchall()]
            for reply in found:
                end = by_image[reply.tenant_id, reply.image_id or ""]
                text = as_text(text_of(reply, end))
                connection.execute(END, [text, end.error is not None, now, reply.id])
            rows = connection.execute(CONCERNED, columns).fetchall()
        return [reply_of(row) for row in rows]

    def awaiting(self, reply_ids: Sequence[str]) -> list[Reply]:
        with self._connections.platform() as connection:
            return [reply_of(row) for row in connection.execute(AWAITING, [list(reply_ids)])]

    def claim(self, reply_ids: Sequence[str], now: datetime, until: datetime) -> list[Reply]:
        if not reply_ids:
            return []
        with self._connections.platform() as connection:
            rows = connection.execute(CLAIM, {"ids": list(reply_ids), "now": now, "until": until}).fetchall()
        return [reply_of(row) for row in rows]

    def settle(self, reply: Reply, verdict: Verdict, now: datetime) -> None:
        values = {
            "id": reply.id,
            "state": verdict.state,
            "next_at": verdict.next_at,
            "error": verdict.error and as_text(verdict.error)[:500],
            "sent_at": now if verdict.state == "sent" else None,
        }
        with self._connections.platform() as connection:
            connection.execute(SETTLE, values)

    def put_off(self, reply_ids: Sequence[str], next_at: datetime) -> None:
        if reply_ids:
            with self._connections.platform() as connection:
                connection.execute(PUT_OFF, [next_at, list(reply_ids)])

    def overdue(self, now: datetime, limit: int) -> list[Reply]:
        with self._connections.platform() as connection:
            if not self._is_there(connection):
                return []
            return [reply_of(row) for row in connection.execute(OVERDUE, [now, limit])]

    def _is_there(self, connection: Connection) -> bool:
        if not self._there:
            self._there = bool((connection.execute(IS_THERE).fetchone() or {"there": False})["there"])
        return self._there


def reply_of(row: dict[str, Any]) -> Reply:
    return Reply(**{name: row[name] for name in REPLY.split(", ")})


def values_of(reply: Reply) -> dict[str, Any]:
    """As parameters of an INSERT."""
    values = {name: getattr(reply, name) for name in REPLY.split(", ")}
    return {name: as_text(value) if isinstance(value, str) else value for name, value in values.items()}
