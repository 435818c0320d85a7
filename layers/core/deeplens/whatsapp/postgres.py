"""Chats of WhatsApp, rules and what became of messages, of all tenants, in the platform database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from deeplens.database.connections import Connection, Connections
from deeplens.database.values import as_text
from deeplens.whatsapp.answers import ChatTally
from deeplens.whatsapp.chats import Chat, Handled, Reply
from deeplens.whatsapp.postgres_replies import REPLY, reply_of, values_of
from deeplens.whatsapp.rules import Rule

CHAT = "jid, tenant_id, name, linked_at"
RULE = "id, tenant_id, position, actions, types, senders, groups, in_group, text, tags"
HANDLED = "message_id, tenant_id, chat_jid, type, outcome, received_at, reason, code, rule_id, image_id, forwarded"
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
"""What the pipeline reads in the tenant's row: whether anybody waits to hear of images."""
RULES = f"""
SELECT {RULE} FROM whatsapp_rules WHERE tenant_id = ANY(%s) ORDER BY tenant_id, position, id
"""  # noqa: S608
SAVE_RULE = f"""
INSERT INTO whatsapp_rules ({RULE}) VALUES ({", ".join(f"%({name})s" for name in RULE.split(", "))})
ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in RULE.split(", ")[2:])}
"""  # noqa: S608
REMOVE_RULE = "DELETE FROM whatsapp_rules WHERE tenant_id = %s AND id = %s"
KNOWN = f"SELECT {HANDLED} FROM whatsapp_messages WHERE message_id = ANY(%s)"  # noqa: S608
RECORD = f"""
INSERT INTO whatsapp_messages ({HANDLED}) VALUES ({", ".join(f"%({name})s" for name in HANDLED.split(", "))})
ON CONFLICT (message_id) DO NOTHING
"""  # noqa: S608
RECORD_REPLY = f"""
INSERT INTO whatsapp_replies ({REPLY}) VALUES ({", ".join(f"%({name})s" for name in REPLY.split(", "))})
ON CONFLICT (id) DO NOTHING
"""  # noqa: S608
MESSAGES = f"""
SELECT {", ".join(f"m.{name} AS m_{name}" for name in HANDLED.split(", "))},
       {", ".join(f"r.{name}" for name in REPLY.split(", "))}
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


class PostgresChats:
    """``Chats`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def of_tenant(self, tenant_id: str) -> list[Chat]:
        with self._connections.platform() as connection:
            return [Chat(**row) for row in connection.execute(OF_TENANT, [tenant_id])]

    def linked(self, jids: Sequence[str]) -> dict[str, Chat]:
        with self._connections.platform() as connection:
            return {row["jid"]: Chat(**row) for row in connection.execute(LINKED, [list(jids)])}

    def link(self, chat: Chat) -> Chat:
        with self._connections.platform() as connection, connection.transaction():
            connection.execute(LOCK, [chat.tenant_id])
            connection.execute(LINK, [chat.id, chat.jid, chat.tenant_id, as_text(chat.name), chat.linked_at])
            connection.execute(COUNT, [chat.tenant_id])
            (row,) = connection.execute(LINKED, [[chat.jid]]).fetchall()
        return Chat(**row)

    def unlink(self, tenant_id: str, chat_id: str) -> bool:
        with self._connections.platform() as connection, connection.transaction():
            connection.execute(LOCK, [tenant_id])
            gone = connection.execute(UNLINK, [tenant_id, as_text(chat_id)]).fetchall()
            for row in gone:
                connection.execute(DROP_REPLIES, [tenant_id, row["jid"]])
            connection.execute(COUNT, [tenant_id])
        return bool(gone)

    def rules(self, tenant_ids: Sequence[str]) -> list[Rule]:
        with self._connections.platform() as connection:
            return [_rule(row) for row in connection.execute(RULES, [list(tenant_ids)])]

    def save_rule(self, rule: Rule) -> None:
        values = {name: getattr(rule, name) for name in RULE.split(", ")}
        with self._connections.platform() as connection:
            connection.execute(SAVE_RULE, {name: _stored(value) for name, value in values.items()})

    def remove_rule(self, tenant_id: str, rule_id: str) -> bool:
        with self._connections.platform() as connection:
            return connection.execute(REMOVE_RULE, [tenant_id, as_text(rule_id)]).rowcount == 1

    def handled(self, message_ids: Sequence[str]) -> dict[str, Handled]:
        with self._connections.platform() as connection:
            rows = connection.execute(KNOWN, [list(message_ids)])
            return {row["message_id"]: Handled(**row) for row in rows}

    def record(self, handled: Handled, reply: Reply | None) -> bool:
        values = {name: _stored(getattr(handled, name)) for name in HANDLED.split(", ")}
        with self._connections.platform() as connection, connection.transaction():
            new = connection.execute(RECORD, values).rowcount == 1
            if new and reply is not None:
                _record_reply(connection, reply)
        return new

    def messages(self, tenant_id: str, limit: int) -> list[tuple[Handled, Reply | None]]:
        with self._connections.platform() as connection:
            rows = connection.execute(MESSAGES, [tenant_id, limit]).fetchall()
        return [(_handled(row), reply_of(row) if row["id"] else None) for row in rows]

    def tally(self, tenant_id: str, chat_jid: str) -> ChatTally:
        with self._connections.platform() as connection:
            (row,) = connection.execute(TALLY, [tenant_id, chat_jid]).fetchall()
        return ChatTally(**row)

    def forget(self, before: datetime, limit: int) -> int:
        with self._connections.platform() as connection:
            return connection.execute(FORGET, [before, limit]).rowcount


def _record_reply(connection: Connection, reply: Reply) -> None:
    connection.execute(RECORD_REPLY, values_of(reply))


def _stored(value: Any) -> Any:
    match value:
        case str():
            return as_text(value)
        case tuple():
            return [as_text(one) for one in value]
    return value


def _rule(row: dict[str, Any]) -> Rule:
    lists = {name: tuple(value) for name, value in row.items() if isinstance(value, list)}
    return Rule(**row | lists)


def _handled(row: dict[str, Any]) -> Handled:
    return Handled(**{name: row[f"m_{name}"] for name in HANDLED.split(", ")})
