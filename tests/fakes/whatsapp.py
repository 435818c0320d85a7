"""Chats in dictionaries, held to the promises of PostgreSQL by ``tests/integration``; a WhatsApp that notes."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from deeplens.errors import FileTooLarge, MediaExpired
from deeplens.whatsapp.answers import ChatTally, media_ended
from deeplens.whatsapp.chats import Chat, Handled, ImageEnd, Replies, Reply, Rule, Sent, Verdict

from tests.fakes.db import FakeDirectory

UNSENT = ("awaiting", "waiting")


class FakeWhatsApp:
    """``WhatsApp`` with files by id; ``answers`` by chat, ``Sent()`` otherwise; ``failure`` is raised by ``fetch``."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.sent: list[tuple[str, str, str]] = []
        self.answers: dict[str, Sent] = {}
        self.failure: Exception | None = None
        self.fetched: list[str] = []

    def fetch(self, media_id: str, max_bytes: int) -> bytes:
        self.fetched.append(media_id)
        if self.failure:
            raise self.failure
        if media_id not in self.files:
            raise MediaExpired("WhatsApp no longer has the file (HTTP 404)")
        if len(self.files[media_id]) > max_bytes:
            raise FileTooLarge(f"the file has {len(self.files[media_id])} bytes; at most {max_bytes} are accepted")
        return self.files[media_id]

    def send(self, phone_number_id: str, chat_jid: str, text: str, reply_to: str) -> Sent:
        answer = self.answers.get(chat_jid, Sent())
        self.sent.append((chat_jid, text, reply_to))
        return answer


class FakeChats:
    """``Chats`` beside the tenants of a ``FakeDirectory``, if there is one."""

    def __init__(self, tenants: FakeDirectory | None = None) -> None:
        self._tenants, self._lock = tenants, threading.RLock()
        self.known: dict[str, Chat] = {}
        self.kept_rules: dict[str, Rule] = {}
        self.done: dict[str, Handled] = {}
        self.replies = FakeReplies(self)

    def of_tenant(self, tenant_id: str) -> list[Chat]:
        return sorted((chat for chat in self.known.values() if chat.tenant_id == tenant_id), key=lambda chat: chat.jid)

    def linked(self, jids: Sequence[str]) -> dict[str, Chat]:
        return {jid: self.known[jid] for jid in jids if jid in self.known}

    def link(self, chat: Chat) -> Chat:
        with self._lock:
            linked = self.known.setdefault(chat.jid, chat)
        if self._tenants is not None:
            self._tenants.chats.add(linked.tenant_id)
        return linked

    def unlink(self, tenant_id: str, chat_id: str) -> bool:
        for chat in self.of_tenant(tenant_id):
            if chat.id == chat_id:
                del self.known[chat.jid]
                self.replies.drop(tenant_id, chat.jid)
                if self._tenants is not None and not self.of_tenant(tenant_id):
                    self._tenants.chats.discard(tenant_id)
                return True
        return False

    def rules(self, tenant_ids: Sequence[str]) -> list[Rule]:
        mine = [rule for rule in self.kept_rules.values() if rule.tenant_id in tenant_ids]
        return sorted(mine, key=lambda rule: (rule.tenant_id, rule.position, rule.id))

    def save_rule(self, rule: Rule) -> None:
        self.kept_rules[rule.id] = rule

    def remove_rule(self, tenant_id: str, rule_id: str) -> bool:
        rule = self.kept_rules.get(rule_id)
        return rule is not None and rule.tenant_id == tenant_id and bool(self.kept_rules.pop(rule_id))

    def handled(self, message_ids: Sequence[str]) -> dict[str, Handled]:
        return {message_id: self.done[message_id] for message_id in message_ids if message_id in self.done}

    def record(self, handled: Handled, reply: Reply | None) -> bool:
        with self._lock:
            if handled.message_id in self.done:
                return False
            self.done[handled.message_id] = handled
            if reply is not None:
                self.replies.kept[reply.id] = reply
            return True

    def messages(self, tenant_id: str, limit: int) -> list[tuple[Handled, Reply | None]]:
        mine = [handled for handled in self.done.values() if handled.tenant_id == tenant_id]
        newest = sorted(mine, key=lambda handled: handled.received_at, reverse=True)[:limit]
        by_message = {reply.message_id: reply for reply in self.replies.kept.values()}
        return [(handled, by_message.get(handled.message_id)) for handled in newest]

    def tally(self, tenant_id: str, chat_jid: str) -> ChatTally:
        own = [
            reply
            for reply in self.replies.kept.values()
            if (reply.tenant_id, reply.chat_jid) == (tenant_id, chat_jid) and reply.image_id
        ]
        in_work = sum(reply.state == "awaiting" for reply in own)
        failed = sum(reply.id in self.replies.failed for reply in own)
        return ChatTally(in_work, len(own) - in_work - failed, failed)

    def forget(self, before: datetime, limit: int) -> int:
        old = sorted(
            (handled for handled in self.done.values() if handled.received_at < before),
            key=lambda handled: handled.received_at,
        )
        for handled in old[:limit]:
            del self.done[handled.message_id]
            self.replies.kept = {k: v for k, v in self.replies.kept.items() if v.message_id != handled.message_id}
        return len(old[:limit])


class FakeReplies(Replies):
    """``Replies`` that ``FakeChats`` records."""

    def __init__(self, chats: FakeChats) -> None:
        self._chats, self._lock = chats, threading.RLock()
        self.kept: dict[str, Reply] = {}
        self.failed: set[str] = set()

    def end(self, ended: Sequence[ImageEnd], now: datetime) -> list[Reply]:
        by_image = {(end.tenant_id, end.image_id): end for end in ended}
        with self._lock:
            for reply in self._concerned(by_image):
                error = by_image[reply.tenant_id, reply.image_id or ""].error
                if reply.state == "awaiting":
                    text = media_ended(reply.file_name or reply.image_id or "", error)
                    self.kept[reply.id] = replace(reply, state="waiting", text=text, next_at=now)
                    self.failed |= {reply.id} if error is not None else set()
            return self._concerned(by_image)

    def _concerned(self, by_image: dict[tuple[str, str], ImageEnd]) -> list[Reply]:
        unsent = [reply for reply in self.kept.values() if reply.state in UNSENT]
        return sorted(
            (reply for reply in unsent if (reply.tenant_id, reply.image_id) in by_image), key=lambda reply: reply.id
        )

    def awaiting(self, reply_ids: Sequence[str]) -> list[Reply]:
        return [
            self.kept[reply_id]
            for reply_id in reply_ids
            if reply_id in self.kept and self.kept[reply_id].state == "awaiting"
        ]

    def claim(self, reply_ids: Sequence[str], now: datetime, until: datetime) -> list[Reply]:
        with self._lock:
            replies = [self.kept[reply_id] for reply_id in dict.fromkeys(reply_ids) if reply_id in self.kept]
            due = [
                reply
                for reply in replies
                if reply.state == "waiting" and reply.next_at <= now and self._is_linked(reply)
            ]
            self.kept.update((reply.id, replace(reply, next_at=until)) for reply in due)
            return [self.kept[reply.id] for reply in due]

    def _is_linked(self, reply: Reply) -> bool:
        chat = self._chats.known.get(reply.chat_jid)
        return chat is not None and chat.tenant_id == reply.tenant_id

    def settle(self, reply: Reply, verdict: Verdict, now: datetime) -> None:
        with self._lock:
            known = self.kept[reply.id]
            self.kept[reply.id] = replace(
                known,
                state=verdict.state,
                attempts=known.attempts + 1,
                next_at=verdict.next_at or known.next_at,
                last_error=verdict.error,
                sent_at=now if verdict.state == "sent" else None,
            )

    def put_off(self, reply_ids: Sequence[str], next_at: datetime) -> None:
        with self._lock:
            for reply_id in reply_ids:
                if reply_id in self.kept and self.kept[reply_id].state in UNSENT:
                    self.kept[reply_id] = replace(self.kept[reply_id], next_at=next_at)

    def overdue(self, now: datetime, limit: int) -> list[Reply]:
        due = [reply for reply in self.kept.values() if reply.state in UNSENT and reply.next_at <= now]
        return sorted(due, key=lambda reply: reply.next_at)[:limit]

    def drop(self, tenant_id: str, chat_jid: str) -> None:
        self.kept = {
            id_: reply
            for id_, reply in self.kept.items()
            if (reply.tenant_id, reply.chat_jid) != (tenant_id, chat_jid) or reply.state not in UNSENT
        }
