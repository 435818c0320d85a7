"""whatsapp-ready-messages → images, videos, answers, webhooks; and replies that are ready, to their chats"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome, attempt, in_parallel
from deeplens.errors import ApiError, InvalidImage, MediaExpired, TenantNotFound
from deeplens.events.notifications import MESSAGE_RECEIVED, TenantNotification
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.formats.errors import InvalidVideo
from deeplens.images.model import about_media
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.whatsapp import answers
from deeplens.whatsapp.answers import Command, command_of
from deeplens.whatsapp.chats import (
    DEFAULT,
    MIN_CHECK_DELAY,
    Chat,
    Chats,
    Effect,
    Handled,
    Reply,
    Rule,
    WhatsApp,
    reply_id,
    rule_for,
    send_request,
)
from deeplens.whatsapp.collection import ChatCollection
from deeplens.whatsapp.deliver_replies import DeliverReplies
from deeplens.whatsapp.incoming import Media, kind_of, media_of, text_in_metadata

BEST_MATCHES = 5


@dataclass(frozen=True, slots=True)
class AnswerMessage:
    """Decide and do what a message asks for. Safe to repeat: the same message is the same image."""

    chats: Chats
    collection: ChatCollection
    whatsapp: WhatsApp

    def __call__(self, tenant: Tenant, message: WhatsAppMessage, rule: Rule) -> Effect:
        """Raises ``DependencyUnavailable``, ``TransientError`` when the message has to come again."""
        if tenant.status != "active":
            return Effect("ignored", f"the tenant is {tenant.status}")
        if "ignore" in rule.actions:
            return Effect("ignored", "a rule says so")
        media, command = media_of(message), command_of(message)
        try:
            if media is None:
                return self._answer_text(tenant, message, rule, command)
            return self._answer_file(tenant, message, rule, media, command)
        except (ApiError, InvalidImage, InvalidVideo, MediaExpired) as error:
            expired = isinstance(error, MediaExpired)
            text = answers.EXPIRED if expired else answers.refused(str(error))
            return Effect("refused", str(error), error.code, text)

    def _answer_text(self, tenant: Tenant, message: WhatsAppMessage, rule: Rule, command: Command | None) -> Effect:
        match command:
            case "help":
                return Effect("answered", text=answers.HELP)
            case "status":
                stored, left = self.collection.occupancy(tenant)
                tally = self.chats.tally(tenant.id, message.chat_jid)
                return Effect("answered", text=answers.status(tenant.name, stored, left, tally))
            case "find":
                return Effect("answered", text=answers.FIND_WHAT)
        if "webhook" in rule.actions:
            return Effect("forwarded")
        # In a group people talk to each other; alone, somebody talks to us.
        if message.message_type == "text" and rule is DEFAULT and not message.metadata.get("isGroup"):
            return Effect("answered", text=answers.HINT)
        return Effect("ignored", "neither a file nor a command")

    def _answer_file(
        self, tenant: Tenant, message: WhatsAppMessage, rule: Rule, media: Media, command: Command | None
    ) -> Effect:
        kind = kind_of(message, media)
        if command == "find" and kind == "image":
            similar = self.collection.similar(tenant, self._fetch(tenant, media), BEST_MATCHES)
            return Effect("answered", text=answers.matches(similar))
        if command == "find" and kind == "video":
            return Effect("answered", text=answers.FIND_WHAT)
        if "ingest" not in rule.actions:
            return Effect("forwarded")
        if kind not in ("image", "video"):
            code, text = f"{kind.upper()}_UNSUPPORTED", answers.UNSUPPORTED.get(kind)
            return Effect("refused", f"{kind} is not accepted", code, text)
        return self.collection.ingest(tenant, message, media, self._fetch(tenant, media), rule.tags)

    def _fetch(self, tenant: Tenant, media: Media) -> bytes:
        return self.whatsapp.fetch(media.id, self.collection.largest_file(tenant))


@dataclass(frozen=True, slots=True)
class Converse:
    """Do what messages of linked chats ask for, each once, and send the replies that are ready.

    Consumes ``WhatsAppMessage``. Emits ``ImageUploaded`` for pictures, ``VideoUploaded`` for videos,
    ``TenantNotification`` where a rule forwards to the tenant's webhooks, and ``WhatsAppMessage`` of its own for each
    reply. The result of a message is recorded, with its reply, before anything of it is published or sent; a message
    that comes again finds it, and only emits the same events. Messages of chats that are linked to no tenant leave no
    trace.
    """

    name: ClassVar = "converse"
    consumes: ClassVar = WhatsAppMessage

    chats: Chats
    collection: ChatCollection
    tenants: TenantDirectory
    answer: AnswerMessage
    deliver: DeliverReplies
    workers: Executor
    clock: Clock

    def __call__(self, batch: Sequence[WhatsAppMessage]) -> list[Outcome]:
        first = {message.message_id: message for message in reversed(batch) if not message.from_me}
        outcomes = self._outcomes([*first.values()])
        self.deliver([message.message_id for message in batch if message.from_me])
        results: list[Outcome] = []
        for message in batch:
            outcome = Done() if message.from_me else outcomes[message.message_id]
            results.append(outcome)
            if isinstance(outcome, Done):
                # A webhook that was posted twice may be twice in a batch: only a message's first record has an effect.
                outcomes[message.message_id] = Done(dropped="the same message is in this batch")
        return results

    def _outcomes(self, messages: Sequence[WhatsAppMessage]) -> dict[str, Outcome]:
        """Outcomes by message."""
        if not messages:
            return {}
        message_ids = [message.message_id for message in messages]
        linked = self.chats.linked([message.chat_jid for message in messages])
        known = self.chats.handled(message_ids)
        rules = self.chats.rules(sorted({chat.tenant_id for chat in linked.values()})) if linked else []

        def handle(message: WhatsAppMessage) -> Outcome:
            chat = linked.get(message.chat_jid)
            if chat is None:
                return Done(dropped="its chat is linked to no tenant")
            return attempt(lambda: self._handle(message, chat, known.get(message.message_id), rules))

        return dict(zip(message_ids, in_parallel(self.workers, handle, messages), strict=True))

    def _handle(self, message: WhatsAppMessage, chat: Chat, known: Handled | None, rules: Sequence[Rule]) -> Outcome:
        try:
            tenant = self.tenants.get(chat.tenant_id)
        except TenantNotFound:
            return Done(dropped="its chat's tenant is gone")
        effect = None
        if known is None:
            rule = rule_for([rule for rule in rules if rule.tenant_id == tenant.id], message)
            effect = self.answer(tenant, message, rule)
            handled = self._handled(message, tenant, rule, effect)
            if self.chats.record(handled, self._reply(message, tenant, effect)):
                return Done((*self._follow_ups(tenant, message, handled), *effect.events))
            # Handled elsewhere in the meantime.
            known = self.chats.handled([message.message_id])[message.message_id]
        # What followed from it the first time may not have been published.
        if known.tenant_id != tenant.id:
            return Done(dropped="it was handled for another tenant of its chat")
        events = self.collection.resume(tenant, known.image_id) if known.image_id else ()
        released = effect.events if effect and effect.image_id is None else ()
        return Done((*self._follow_ups(tenant, message, known), *events, *released))

    def _handled(self, message: WhatsAppMessage, tenant: Tenant, rule: Rule, effect: Effect) -> Handled:
        return Handled(
            message_id=message.message_id,
            tenant_id=tenant.id,
            chat_jid=message.chat_jid,
            type=message.message_type,
            outcome=effect.outcome,
            received_at=self.clock.now(),
            reason=effect.reason,
            code=effect.code,
            rule_id=rule.id or None,
            image_id=effect.image_id,
            forwarded="webhook" in rule.actions and effect.outcome != "ignored",
        )

    def _reply(self, message: WhatsAppMessage, tenant: Tenant, effect: Effect) -> Reply | None:
        if effect.text is None and effect.image_id is None:
            return None
        now, awaiting = self.clock.now(), effect.text is None
        return Reply(
            id=reply_id(message.message_id),
            tenant_id=tenant.id,
            chat_jid=message.chat_jid,
            message_id=message.message_id,
            phone_number_id=text_in_metadata(message, "phoneNumberId"),
            created_at=now,
            next_at=now + MIN_CHECK_DELAY if awaiting else now,
            state="awaiting" if awaiting else "waiting",
            text=effect.text,
            image_id=effect.image_id,
            file_name=effect.file_name,
        )

    def _follow_ups(self, tenant: Tenant, message: WhatsAppMessage, handled: Handled) -> list[Event]:
        events: list[Event] = []
        if handled.forwarded and MESSAGE_RECEIVED in tenant.notified:
            events.append(_notification(tenant, message, handled.image_id))
        if handled.outcome in ("answered", "refused"):
            # A refusal that is not worth an answer has no reply; this event is passed over then.
            events.append(send_request(reply_id(message.message_id), message.chat_jid, None, self.clock.now()))
        return events


def _notification(tenant: Tenant, message: WhatsAppMessage, media_id: str | None) -> TenantNotification:
    """About a message that a rule forwards; ``media_id`` is the image, or video, that it became."""
    details = {
        "messageId": message.message_id,
        "chatJid": message.chat_jid,
        "messageType": message.message_type,
        "content": message.content,
        **{name: message.metadata.get(name) for name in ("sender", "senderName", "isGroup")},
    }
    return TenantNotification(
        tenant_id=tenant.id,
        type=MESSAGE_RECEIVED,
        occurred_at=datetime.fromtimestamp(message.timestamp, UTC),
        **about_media(media_id),
        details={name: value for name, value in details.items() if value is not None},
    )
