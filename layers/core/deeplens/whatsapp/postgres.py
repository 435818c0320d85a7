"""WhatsApp chats, rules, handled messages and replies of all tenants, in the platform database."""

from collections.abc import Sequence
from datetime import datetime

from deeplens.database.connections import PlatformAdapter
from deeplens.database.rows import columns_of, insert_into, parameters_of, record_of
from deeplens.database.values import as_text
from deeplens.whatsapp.answers import ChatTally, media_ended
from deeplens.whatsapp.chats import Chat, Handled, ImageEnd, Reply, Rule, Verdict

CHAT, RULE, HANDLED, REPLY = columns_of(Chat), columns_of(Rule), columns_of(Handled), columns_of(Reply)
OF_TENANT = f"SELECT {CHAT} FROM whatsapp_chats WHERE tenant_id = %s ORDER BY jid"  # noqa: S608
LINKED = f"SELECT {CHAT} FROM whatsapp_chats WHERE jid = ANY(%s)"  # noqa: S608
LOCK = "SELECT FROM tenants WHERE id = %s FOR UPDATE"
"""Changes of a tenant's chats are serialised, or the last one to count them could miss one."""
LINK = """
INSERT INTO whatsapp_chats (id, jid, tenant_id, name, linked_at) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (jid) DO NOTHING
"""
UNLINK = "DELETE FROM whatsapp_chats WHERE tenant_id = %s AND id = %s RETURNING jid"
DROP_REPLIES = """
DELETE FROM whatsapp_replies WHERE tenant_id = %s AND chat_jid = %s AND state IN ('awaiting', 'waiting')
"""
COUNT = """
UPDATE tenants SET chats = EXISTS (SELECT FROM whatsapp_chats c WHERE c.tenant_id = tenants.id) WHERE id = %s
"""
"""Keeps in the tenant's row, for the pipeline, whether any chat waits to hear of images."""
RULES = f"SELECT {RULE} FROM whatsapp_rules WHERE tenant_id = ANY(%s) ORDER BY tenant_id, position, id"  # noqa: S608
SAVE_RULE = f"""
{insert_into("whatsapp_rules", Rule)}
ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in RULE.split(", ")[2:])}
"""
REMOVE_RULE = "DELETE FROM whatsapp_rules WHERE tenant_id = %s AND id = %s"
KNOWN = f"SELECT {HANDLED} FROM whatsapp_messages WHERE message_id = ANY(%s)"  # noqa: S608
RECORD = f"{insert_into('whatsapp_messages', Handled)} ON CONFLICT (message_id) DO NOTHING"
RECORD_REPLY = f"{insert_into('whatsapp_replies', Reply)} ON CONFLICT (id) DO NOTHING"
MESSAGES = f"""
SELECT {", ".join(f"m.{name} AS m_{name}" for name in HANDLED.split(", "))}, {columns_of(Reply, "r.")}
FROM whatsapp_messages m LEFT JOIN whatsapp_replies r ON r.message_id = m.message_id
WHERE m.tenant_id = %s ORDER BY m.received_at DESC, m.message_id LIMIT %s
"""  # noqa: S608
TALLY = """
SELECT count(*) FILTER (WHERE state = 'awaiting') AS in_work,
       count(*) FILTER (WHERE state <> 'awaiting' AND NOT failed) AS searchable,
       count(*) FILTER (WHERE failed) AS failed
FROM whatsapp_replies WHERE tenant_id = %s AND chat_jid = %s AND image_id IS NOT NULL
"""
FORGET = """
WITH old AS (
    SELECT message_id FROM whatsapp_messages WHERE received_at < %s ORDER BY received_at LIMIT %s
), replies AS (
    DELETE FROM whatsapp_replies r USING old WHERE r.message_id = old.message_id
)
DELETE FROM whatsapp_messages m USING old WHERE m.message_id = old.message_id
"""
UNSENT_OF_IMAGES = f"""
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
RETURNING {columns_of(Reply, "r.")}
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


class PostgresChats(PlatformAdapter):
    """``Chats`` on psycopg."""

    def of_tenant(self, tenant_id: str) -> list[Chat]:
        return [record_of(Chat, row) for row in self._rows(OF_TENANT, [tenant_id])]

    def linked(self, jids: Sequence[str]) -> dict[str, Chat]:
        return {row["jid"]: record_of(Chat, row) for row in self._rows(LINKED, [list(jids)])}

    def link(self, chat: Chat) -> Chat:
        with self._platform() as connection, connection.transaction():
            connection.execute(LOCK, [chat.tenant_id])
            connection.execute(LINK, [chat.id, chat.jid, chat.tenant_id, as_text(chat.name), chat.linked_at])
            connection.execute(COUNT, [chat.tenant_id])
            (row,) = connection.execute(LINKED, [[chat.jid]]).fetchall()
        return record_of(Chat, row)

    def unlink(self, tenant_id: str, chat_id: str) -> bool:
        with self._platform() as connection, connection.transaction():
            connection.execute(LOCK, [tenant_id])
            unlinked = connection.execute(UNLINK, [tenant_id, as_text(chat_id)]).fetchall()
            for row in unlinked:
                connection.execute(DROP_REPLIES, [tenant_id, row["jid"]])
            connection.execute(COUNT, [tenant_id])
        return bool(unlinked)

    def rules(self, tenant_ids: Sequence[str]) -> list[Rule]:
        return [record_of(Rule, row) for row in self._rows(RULES, [list(tenant_ids)])]

    def save_rule(self, rule: Rule) -> None:
        self._execute(SAVE_RULE, parameters_of(rule))

    def remove_rule(self, tenant_id: str, rule_id: str) -> bool:
        return self._execute(REMOVE_RULE, [tenant_id, as_text(rule_id)]) == 1

    def handled(self, message_ids: Sequence[str]) -> dict[str, Handled]:
        return {row["message_id"]: record_of(Handled, row) for row in self._rows(KNOWN, [list(message_ids)])}

    def record(self, handled: Handled, reply: Reply | None) -> bool:
        with self._platform() as connection, connection.transaction():
            new = connection.execute(RECORD, parameters_of(handled)).rowcount == 1
            if new and reply is not None:
                connection.execute(RECORD_REPLY, parameters_of(reply))
        return new

    def messages(self, tenant_id: str, limit: int) -> list[tuple[Handled, Reply | None]]:
        rows = self._rows(MESSAGES, [tenant_id, limit])
        return [(record_of(Handled, row, "m_"), record_of(Reply, row) if row["id"] else None) for row in rows]

    def tally(self, tenant_id: str, chat_jid: str) -> ChatTally:
        (row,) = self._rows(TALLY, [tenant_id, chat_jid])
        return ChatTally(**row)

    def forget(self, before: datetime, limit: int) -> int:
        return self._execute(FORGET, [before, limit])


class PostgresReplies(PlatformAdapter):
    """``Replies`` on psycopg."""

    def end(self, ended: Sequence[ImageEnd], now: datetime) -> list[Reply]:
        by_image = {(end.tenant_id, end.image_id): end for end in ended}
        if not by_image:
            return []
        columns = [list(column) for column in zip(*by_image, strict=True)]
        with self._platform() as connection, connection.transaction():
            for row in connection.execute(UNSENT_OF_IMAGES, columns).fetchall():
                error = by_image[row["tenant_id"], row["image_id"]].error
                text = as_text(media_ended(row["file_name"] or row["image_id"], error))
                connection.execute(END, [text, error is not None, now, row["id"]])
            rows = connection.execute(UNSENT_OF_IMAGES, columns).fetchall()
        return [record_of(Reply, row) for row in rows]

    def awaiting(self, reply_ids: Sequence[str]) -> list[Reply]:
        return [record_of(Reply, row) for row in self._rows(AWAITING, [list(reply_ids)])]

    def claim(self, reply_ids: Sequence[str], now: datetime, until: datetime) -> list[Reply]:
        if not reply_ids:
            return []
        rows = self._rows(CLAIM, {"ids": list(reply_ids), "now": now, "until": until})
        return [record_of(Reply, row) for row in rows]

    def settle(self, reply: Reply, verdict: Verdict, now: datetime) -> None:
        values = {
            "id": reply.id,
            "state": verdict.state,
            "next_at": verdict.next_at,
            "error": verdict.error and as_text(verdict.error)[:500],
            "sent_at": now if verdict.state == "sent" else None,
        }
        self._execute(SETTLE, values)

    def put_off(self, reply_ids: Sequence[str], next_at: datetime) -> None:
        if reply_ids:
            self._execute(PUT_OFF, [next_at, list(reply_ids)])

    def overdue(self, now: datetime, limit: int) -> list[Reply]:
        return [record_of(Reply, row) for row in self._rows(OVERDUE, [now, limit])]
