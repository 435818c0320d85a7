"""Chats, rules, messages and replies, of the fake as of PostgreSQL: one tenant per chat, one effect per message."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deeplens.database.connections import Connections
from deeplens.tenants.directory import CHAT_NOTIFICATIONS, PostgresDirectory
from deeplens.tenants.model import Tenant
from deeplens.tenants.postgres import PostgresTenantRecords
from deeplens.whatsapp.answers import ChatTally
from deeplens.whatsapp.chats import Chat, Chats, Handled, ImageEnd, Replies, Reply, Rule, Verdict, reply_id
from deeplens.whatsapp.postgres import PostgresChats, PostgresReplies

from tests.fakes.whatsapp import FakeChats

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
_numbers = itertools.count(1)

type NewTenant = Callable[[], Tenant]


@dataclass
class Both:
    chats: Chats
    replies: Replies


@pytest.fixture(params=["fake", "postgres"])
def both(request: pytest.FixtureRequest) -> Both:
    if request.param == "fake":
        chats = FakeChats()
        return Both(chats, chats.replies)
    connections = request.getfixturevalue("connections")
    return Both(PostgresChats(connections), PostgresReplies(connections))


def linked(both: Both, tenant: Tenant) -> Chat:
    return both.chats.link(Chat(f"49{next(_numbers):08}@s.whatsapp.net", tenant.id, "Süd", NOON))


def handled(chat: Chat, **changes: Any) -> Handled:
    name = f"wamid.{next(_numbers)}"
    return replace(Handled(name, chat.tenant_id, chat.jid, "image", "ingested", NOON), **changes)


def reply_to(message: Handled, **changes: Any) -> Reply:
    made = Reply(
        reply_id(message.message_id),
        message.tenant_id,
        message.chat_jid,
        message.message_id,
        "1",
        NOON,
        NOON,
        text="Hello",
    )
    return replace(made, **changes)


def recorded(both: Both, chat: Chat, **changes: Any) -> Reply:
    message = handled(chat)
    reply = reply_to(message, **changes)
    assert both.chats.record(message, reply)
    return reply


def awaiting(both: Both, chat: Chat, image_id: str) -> Reply:
    waiting = {"state": "awaiting", "text": None, "image_id": image_id, "file_name": "a.jpg"}
    return recorded(both, chat, next_at=NOON + MINUTE, **waiting)


def claimed(both: Both, *replies: Reply, at: datetime = NOON) -> list[str]:
    return sorted(reply.id for reply in both.replies.claim([reply.id for reply in replies], at, at + 5 * MINUTE))


def test_a_chat_belongs_to_whoever_had_it_linked_first(both: Both, tenant: Tenant, new_tenant: NewTenant) -> None:
    chat, other = linked(both, tenant), new_tenant()
    assert both.chats.link(replace(chat, tenant_id=other.id)) == chat
    assert both.chats.link(replace(chat, name="again")) == chat
    assert both.chats.of_tenant(tenant.id) == [chat]
    assert both.chats.linked([chat.jid, "nobody@g.us"]) == {chat.jid: chat}
    assert not both.chats.unlink(other.id, chat.id)
    assert both.chats.unlink(tenant.id, chat.id)
    assert both.chats.linked([chat.jid]) == {}
    moved = replace(chat, tenant_id=other.id)
    assert both.chats.link(moved) == moved


def test_rules_read_back_in_order(both: Both, tenant: Tenant, new_tenant: NewTenant) -> None:
    other = new_tenant()
    everything = Rule(
        f"rul_{next(_numbers):06}",
        tenant.id,
        2,
        ("ingest", "webhook"),
        types=("image",),
        senders=("4915",),
        groups=("x@g.us",),
        in_group=True,
        text="Straße",
        tags=("süß",),
    )
    bare = Rule(f"rul_{next(_numbers):06}", tenant.id, 1, ("ignore",))
    for rule in (everything, bare):
        both.chats.save_rule(rule)
    assert both.chats.rules([tenant.id, other.id]) == [bare, everything]
    both.chats.save_rule(replace(bare, position=3))
    assert [rule.position for rule in both.chats.rules([tenant.id])] == [2, 3]
    assert both.chats.rules([other.id]) == []
    assert not both.chats.remove_rule(other.id, bare.id)
    assert both.chats.remove_rule(tenant.id, bare.id)
    assert both.chats.rules([tenant.id]) == [everything]


def test_a_message_is_recorded_once_with_its_reply_or_not_at_all(both: Both, tenant: Tenant) -> None:
    chat = linked(both, tenant)
    message = handled(chat, outcome="refused", reason="HTTP 404", code="GONE", rule_id="rul_1", forwarded=True)
    reply = reply_to(message)
    assert both.chats.record(message, reply)
    assert not both.chats.record(replace(message, outcome="ingested"), replace(reply, text="again"))
    assert both.chats.handled([message.message_id, "wamid.none"]) == {message.message_id: message}
    silent = handled(chat, received_at=NOON + MINUTE, outcome="ignored")
    assert both.chats.record(silent, None)
    assert both.chats.messages(tenant.id, 10) == [(silent, None), (message, reply)]
    assert both.chats.messages(tenant.id, 1) == [(silent, None)]


def test_a_claimed_reply_is_nobody_elses_until_its_lease_ends(both: Both, tenant: Tenant) -> None:
    reply = recorded(both, linked(both, tenant))
    assert claimed(both, reply, at=NOON - MINUTE) == []
    assert claimed(both, reply, reply) == [reply.id]
    assert claimed(both, reply) == []
    assert claimed(both, reply, at=NOON + 5 * MINUTE) == [reply.id]
    both.replies.put_off([reply.id], NOON)
    assert claimed(both, reply) == [reply.id]
    assert claimed(both) == []


def test_what_became_of_a_try_is_kept(both: Both, tenant: Tenant) -> None:
    chat = linked(both, tenant)
    later, sent = recorded(both, chat), recorded(both, chat)
    both.replies.settle(later, Verdict("waiting", NOON + 10 * MINUTE, "HTTP 429"), NOON)
    both.replies.settle(sent, Verdict("sent"), NOON + MINUTE)
    by_id = {reply.id: reply for _, reply in both.chats.messages(tenant.id, 10) if reply}
    kept = by_id[later.id]
    assert (kept.state, kept.attempts, kept.next_at, kept.last_error) == ("waiting", 1, NOON + 10 * MINUTE, "HTTP 429")
    assert (by_id[sent.id].state, by_id[sent.id].sent_at) == ("sent", NOON + MINUTE)
    both.replies.put_off([later.id, sent.id], NOON)
    due = {reply.id for reply in both.replies.overdue(NOON, 1000)}
    assert later.id in due
    assert sent.id not in due
    assert claimed(both, sent) == []


def test_replies_get_their_text_when_the_image_ends(both: Both, tenant: Tenant, new_tenant: NewTenant) -> None:
    chat, others = linked(both, tenant), linked(both, new_tenant())
    good, bad, foreign = awaiting(both, chat, "img_1"), awaiting(both, chat, "img_2"), awaiting(both, others, "img_1")
    assert claimed(both, good, at=NOON + 10 * MINUTE) == []
    assert [reply.id for reply in both.replies.awaiting([good.id, "war_none"])] == [good.id]
    ends = [ImageEnd(tenant.id, "img_1"), ImageEnd(tenant.id, "img_2", "too odd"), ImageEnd(tenant.id, "img_3")]
    ended = {reply.id: reply for reply in both.replies.end(ends, NOON + 2 * MINUTE)}
    assert ended.keys() == {good.id, bad.id}
    assert ended[good.id].text == "a.jpg is searchable now."
    assert "too odd" in (ended[bad.id].text or "")
    # An event that comes again finds what is unsent and changes nothing; one of another end neither.
    assert {reply.id: reply for reply in both.replies.end(ends, NOON + 9 * MINUTE)} == ended
    assert both.replies.end([ImageEnd(tenant.id, "img_1", "failed later")], NOON)[0].text == ended[good.id].text
    assert both.replies.awaiting([good.id, foreign.id]) == [foreign]
    assert both.chats.tally(tenant.id, chat.jid) == ChatTally(0, 1, 1)
    assert both.chats.tally(foreign.tenant_id, others.jid) == ChatTally(1, 0, 0)
    assert claimed(both, good, bad, foreign, at=NOON + 2 * MINUTE) == sorted([good.id, bad.id])
    for one in (good, bad):
        both.replies.settle(one, Verdict("sent"), NOON)
    assert both.replies.end(ends, NOON) == []
    assert both.replies.end([], NOON) == []


def test_a_chat_that_was_unlinked_is_not_written_to(both: Both, tenant: Tenant, new_tenant: NewTenant) -> None:
    chat = linked(both, tenant)
    reply, waiting = recorded(both, chat), awaiting(both, chat, "img_1")
    assert both.chats.unlink(tenant.id, chat.id)
    both.chats.link(replace(chat, tenant_id=new_tenant().id))
    assert claimed(both, reply) == []
    assert both.replies.end([ImageEnd(tenant.id, "img_1")], NOON) == []
    assert not {reply.id, waiting.id} & {reply.id for reply in both.replies.overdue(NOON + 10 * MINUTE, 1000)}


def test_what_was_long_ago_is_forgotten(both: Both, tenant: Tenant) -> None:
    chat = linked(both, tenant)
    old = handled(chat, received_at=NOON - timedelta(days=400))
    both.chats.record(old, reply_to(old))
    new = recorded(both, chat)
    assert both.chats.forget(NOON - timedelta(days=399), 1000) >= 1
    assert [message.message_id for message, _ in both.chats.messages(tenant.id, 10)] == [new.message_id]
    assert old.message_id not in both.chats.handled([old.message_id])


def test_odd_characters_are_kept_as_far_as_they_can_be(tenant: Tenant, connections: Connections) -> None:
    both = Both(PostgresChats(connections), PostgresReplies(connections))
    chat = linked(both, tenant)
    message = handled(chat, reason="nul \x00 and half \ud83d")
    assert both.chats.record(message, reply_to(message, file_name="a\x00.jpg"))
    ((kept, reply),) = both.chats.messages(tenant.id, 10)
    assert kept.reason == "nul \ufffd and half \ufffd"
    assert reply is not None
    assert reply.file_name == "a\ufffd.jpg"


def test_the_tenants_row_says_whether_a_chat_waits_to_hear(connections: Connections, tenant: Tenant) -> None:
    both = Both(PostgresChats(connections), PostgresReplies(connections))

    def notified() -> frozenset[str]:
        return PostgresDirectory(connections, "http://qdrant").get(tenant.id).notified

    assert notified() == frozenset()
    first, second = linked(both, tenant), linked(both, tenant)
    assert notified() == CHAT_NOTIFICATIONS
    both.chats.unlink(tenant.id, first.id)
    assert notified() == CHAT_NOTIFICATIONS
    both.chats.unlink(tenant.id, second.id)
    assert notified() == frozenset()


def test_a_deleted_tenant_leaves_no_chats(connections: Connections, tenant: Tenant) -> None:
    both = Both(PostgresChats(connections), PostgresReplies(connections))
    chat = linked(both, tenant)
    recorded(both, chat)
    both.chats.save_rule(Rule(f"rul_{next(_numbers):06}", tenant.id, 1, ("ignore",)))
    erased = PostgresTenantRecords(connections).delete_rows(tenant.id)
    kinds = ("whatsAppChats", "whatsAppRules", "whatsAppMessages", "whatsAppReplies")
    assert [erased[kind] for kind in kinds] == [1, 1, 1, 1]
    assert both.chats.linked([chat.jid]) == {}
    assert PostgresDirectory(connections, "http://qdrant").get(tenant.id).notified == frozenset()
