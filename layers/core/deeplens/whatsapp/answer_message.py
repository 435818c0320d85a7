"""What one message of a linked chat leads to: an image, a video, an answer, or nothing, with the reason."""

from dataclasses import dataclass

from deeplens.errors import ApiError, InvalidImage, MediaExpired
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.formats.errors import InvalidVideo
from deeplens.tenants.model import Tenant
from deeplens.whatsapp import answers
from deeplens.whatsapp.answers import Command, command_of
from deeplens.whatsapp.chats import Chats, Effect, WhatsApp
from deeplens.whatsapp.collection import ChatCollection
from deeplens.whatsapp.incoming import Media, kind_of, media_of
from deeplens.whatsapp.rules import DEFAULT, Rule

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
