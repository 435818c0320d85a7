"""What one message of a linked chat leads to: an image, a video, an answer, or nothing, with the reason."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from mimetypes import guess_extension

from deeplens.errors import ApiError, FileTooLarge, InvalidImage, MediaExpired
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.formats.errors import InvalidVideo
from deeplens.tenants.model import Tenant
from deeplens.whatsapp import answers
from deeplens.whatsapp.answers import Command, command_of
from deeplens.whatsapp.chats import ChatCollection, Chats, Ingested, Outcome, Post, Uploaded
from deeplens.whatsapp.delivery import WhatsApp
from deeplens.whatsapp.incoming import Media, media_of, said
from deeplens.whatsapp.rules import DEFAULT, Rule

BEST_MATCHES = 5
MAX_CAPTION = 1024

type Ingest = Callable[[Tenant, Post], Ingested]


@dataclass(frozen=True, slots=True)
class Effect:
    """What a message led to.

    Attributes
    ----------
    reason, code : why it was ignored or refused.
    text : the answer; None where there is none, or where it has to wait for ``image_id``.
    image_id : the image, or video, that it became.
    events : to be published for that.
    """

    outcome: Outcome
    reason: str | None = None
    code: str | None = None
    text: str | None = None
    image_id: str | None = None
    file_name: str | None = None
    events: tuple[Uploaded, ...] = ()


class AnswerMessage:
    """Decide and do what a message asks for. Safe to repeat: the same message is the same image."""

    def __init__(self, chats: Chats, collection: ChatCollection, whatsapp: WhatsApp) -> None:
        self._chats, self._collection, self._whatsapp = chats, collection, whatsapp
        self._ingesters: dict[str, Ingest] = {"image": collection.ingest, "video": collection.ingest_video}

    def __call__(self, tenant: Tenant, message: WhatsAppMessage, rule: Rule) -> Effect:
        """Raises ``DependencyUnavailable``, ``TransientError`` when the message has to come again."""
        if tenant.status != "active":
            return Effect("ignored", f"the tenant is {tenant.status}")
        if "ignore" in rule.actions:
            return Effect("ignored", "a rule says so")
        media, command = media_of(message), command_of(message)
        try:
            if media is None:
                return self._answered(tenant, message, rule, command)
            return self._taken(tenant, message, rule, media, command)
        except MediaExpired as error:
            return Effect("refused", str(error), error.code, answers.EXPIRED)
        except (InvalidImage, InvalidVideo) as error:
            return Effect("refused", str(error), error.code, answers.refused(str(error)))
        except ApiError as error:
            return Effect("refused", error.detail, error.code, answers.refused(error.detail))

    def _answered(self, tenant: Tenant, message: WhatsAppMessage, rule: Rule, command: Command | None) -> Effect:
        """A message without a file."""
        match command:
            case "help":
                return Effect("answered", text=answers.HELP)
            case "status":
                return Effect("answered", text=self._status(tenant, message))
            case "find":
                return Effect("answered", text=answers.FIND_WHAT)
        if "webhook" in rule.actions:
            return Effect("forwarded")
        # In a group people talk to each other; alone, somebody talks to us.
        if message.message_type == "text" and rule is DEFAULT and not message.metadata.get("isGroup"):
            return Effect("answered", text=answers.HINT)
        return Effect("ignored", "neither a file nor a command")

    def _status(self, tenant: Tenant, message: WhatsAppMessage) -> str:
        occupancy, tally = self._collection.occupancy(tenant), self._chats.tally(tenant.id, message.chat_jid)
        stored = occupancy.stored
        return answers.status(tenant.name, stored.images, stored.bytes, occupancy.left, tally)

    def _taken(
        self, tenant: Tenant, message: WhatsAppMessage, rule: Rule, media: Media, command: Command | None
    ) -> Effect:
        """A message with a file."""
        kind = kind_of(message, media)
        if command == "find" and kind == "image":
            return self._found(tenant, media)
        if command == "find" and kind == "video":
            return Effect("answered", text=answers.FIND_WHAT)
        if "ingest" not in rule.actions:
            return Effect("forwarded")
        ingest = self._ingesters.get(kind)
        if ingest is None:
            code = f"{kind.upper()}_UNSUPPORTED"
            return Effect("refused", f"{kind} is not taken", code, answers.UNSUPPORTED.get(kind))
        post = Post(
            message.message_id,
            self._fetched(tenant, media),
            file_name_of(message, media),
            rule.tags,
            metadata_of(message),
        )
        done = ingest(tenant, post)
        return Effect("ingested", image_id=done.image_id, file_name=done.file_name, events=done.events)

    def _found(self, tenant: Tenant, media: Media) -> Effect:
        body = self._whatsapp.fetch(media.id, self._collection.largest_file(tenant))
        return Effect("answered", text=answers.matches(self._collection.similar(tenant, body, BEST_MATCHES)))

    def _fetched(self, tenant: Tenant, media: Media) -> bytes:
        most = self._collection.largest_file(tenant)
        body = self._whatsapp.fetch(media.id, most)
        if len(body) > most:
            raise FileTooLarge(f"the file has {len(body)} bytes; at most {most} are taken")
        return body


def kind_of(message: WhatsAppMessage, media: Media) -> str:
    """What the file is: pictures and videos may also come as documents, which WhatsApp leaves as they are."""
    if message.message_type == "document":
        kind = media.mime_type.partition("/")[0]
        return kind if kind in ("image", "video") else "document"
    return message.message_type


def file_name_of(message: WhatsAppMessage, media: Media) -> str:
    """What the sender calls it, or when it was sent."""
    sent = datetime.fromtimestamp(message.timestamp, UTC)
    return media.file_name or f"whatsapp-{sent:%Y%m%d-%H%M%S}{guess_extension(media.mime_type) or ''}"


def metadata_of(message: WhatsAppMessage) -> dict[str, str]:
    """Who sent it, where and with what words, to search by."""
    known = {
        "source": "whatsapp",
        "chat": message.chat_jid,
        "sender": said(message, "sender"),
        "senderName": said(message, "senderName"),
        "caption": (message.content or "")[:MAX_CAPTION],
    }
    return {name: value for name, value in known.items() if value}
