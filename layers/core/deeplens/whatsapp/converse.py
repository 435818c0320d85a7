"""whatsapp-ready-messages → images, videos, answers, webhooks; and replies that are ready, to their chats"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import ClassVar

from deeplens.common.batch import in_parallel
from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.stage import Done, Outcome, attempt
from deeplens.errors import TenantNotFound
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.images.ports import ImageRepository
from deeplens.tenants.model import Tenant
from deeplens.tenants.ports import TenantDirectory
from deeplens.videos.model import VideoRepository
from deeplens.whatsapp.answer_message import AnswerMessage, Effect
from deeplens.whatsapp.chats import Chat, ChatCollection, Chats, Handled, Replies, Reply, reply_id, sending
from deeplens.whatsapp.deliver_replies import DeliverReplies
from deeplens.whatsapp.delivery import FIRST_LOOK, WhatsApp
from deeplens.whatsapp.incoming import said
from deeplens.whatsapp.notifications import message_received
from deeplens.whatsapp.rules import Rule, rule_for


class Converse:
    """Do what messages of linked chats ask for, once each, and send the replies that are ready.

    Consumes ``WhatsAppMessage``. Emits ``ImageUploaded`` for pictures, ``VideoUploaded`` for videos,
    ``TenantNotification`` where a rule tells the tenant's webhooks, and ``WhatsAppMessage`` of its own for each
    reply. What became of a message is recorded, with its reply, before anything of it is published or sent; a message
    that comes again finds it, and only emits the same events. Messages of chats that are linked to no tenant leave no
    trace.
    """

    name: ClassVar = "converse"
    consumes: ClassVar = WhatsAppMessage

    def __init__(
        self,
        chats: Chats,
        replies: Replies,
        chat_collection: ChatCollection,
        whatsapp: WhatsApp,
        tenants: TenantDirectory,
        images: ImageRepository,
        videos: VideoRepository,
        workers: Executor,
        clock: Clock,
    ) -> None:
        self._chats, self._collection, self._tenants = chats, chat_collection, tenants
        self._workers, self._clock = workers, clock
        self._answer = AnswerMessage(chats, chat_collection, whatsapp)
        self._deliver = DeliverReplies(replies, whatsapp, tenants, images, videos, workers, clock)

    def __call__(self, batch: Sequence[WhatsAppMessage]) -> list[Outcome]:
        # A webhook that was sent twice may stand twice in a batch: only the first of a message's records is worked.
        first = {message.message_id: message for message in reversed(batch) if not message.from_me}
        outcomes = self._received([*first.values()])
        self._deliver([message.message_id for message in batch if message.from_me])
        return [Done() if message.from_me else self._outcome(message, first, outcomes) for message in batch]

    def _outcome(
        self, message: WhatsAppMessage, first: Mapping[str, WhatsAppMessage], outcomes: Mapping[str, Outcome]
    ) -> Outcome:
        outcome = outcomes[message.message_id]
        repeated = first[message.message_id] is not message and isinstance(outcome, Done)
        return Done(dropped="the same message is in this batch") if repeated else outcome

    def _received(self, messages: Sequence[WhatsAppMessage]) -> dict[str, Outcome]:
        """Outcomes by message."""
        if not messages:
            return {}
        linked = self._chats.linked([message.chat_jid for message in messages])
        known = self._chats.handled([message.message_id for message in messages])
        rules: dict[str, list[Rule]] = {}
        for rule in self._chats.rules(sorted({chat.tenant_id for chat in linked.values()})) if linked else []:
            rules.setdefault(rule.tenant_id, []).append(rule)

        def work(message: WhatsAppMessage) -> Outcome:
            chat, handled = linked.get(message.chat_jid), known.get(message.message_id)
            if chat is None:
                return Done(dropped="its chat is linked to no tenant")
            return attempt(lambda: self._one(message, chat, handled, rules.get(chat.tenant_id, [])))

        return dict(
            zip([message.message_id for message in messages], in_parallel(self._workers, work, messages), strict=True)
        )

    def _one(self, message: WhatsAppMessage, chat: Chat, known: Handled | None, rules: Sequence[Rule]) -> Outcome:
        try:
            tenant = self._tenants.get(chat.tenant_id)
        except TenantNotFound:
            return Done(dropped="its chat's tenant is gone")
        if known is None:
            rule = rule_for(rules, message)
            effect = self._answer(tenant, message, rule)
            handled = self._handled(message, tenant, rule, effect)
            if self._chats.record(handled, self._reply(message, tenant, effect)):
                return Done((*self._follow_ups(tenant, message, handled), *effect.events))
            # Handled elsewhere in the meantime.
            known = self._chats.handled([message.message_id])[message.message_id]
        return self._again(tenant, message, known)

    def _again(self, tenant: Tenant, message: WhatsAppMessage, known: Handled) -> Outcome:
        """What followed from it the first time may not have got out."""
        if known.tenant_id != tenant.id:
            return Done(dropped="it was handled for another tenant of its chat")
        events = self._collection.resume(tenant, known.image_id) if known.image_id else ()
        return Done((*self._follow_ups(tenant, message, known), *events))

    def _handled(self, message: WhatsAppMessage, tenant: Tenant, rule: Rule, effect: Effect) -> Handled:
        return Handled(
            message_id=message.message_id,
            tenant_id=tenant.id,
            chat_jid=message.chat_jid,
            type=message.message_type,
            outcome=effect.outcome,
            received_at=self._clock.now(),
            reason=effect.reason,
            code=effect.code,
            rule_id=rule.id or None,
            image_id=effect.image_id,
            forwarded="webhook" in rule.actions and effect.outcome != "ignored",
        )

    def _reply(self, message: WhatsAppMessage, tenant: Tenant, effect: Effect) -> Reply | None:
        if effect.text is None and effect.image_id is None:
            return None
        now, awaiting = self._clock.now(), effect.text is None
        return Reply(
            id=reply_id(message.message_id),
            tenant_id=tenant.id,
            chat_jid=message.chat_jid,
            message_id=message.message_id,
            phone_number_id=said(message, "phoneNumberId"),
            created_at=now,
            next_at=now + FIRST_LOOK if awaiting else now,
            state="awaiting" if awaiting else "waiting",
            text=effect.text,
            image_id=effect.image_id,
            file_name=effect.file_name,
        )

    def _follow_ups(self, tenant: Tenant, message: WhatsAppMessage, handled: Handled) -> list[Event]:
        events: list[Event] = []
        if handled.forwarded:
            events += message_received(tenant, message, handled.image_id)
        if handled.outcome in ("answered", "refused"):
            # Of a refusal that is not worth an answer there is no reply, and the event is passed over.
            events.append(sending(reply_id(message.message_id), message.chat_jid, None, self._clock.now()))
        return events
