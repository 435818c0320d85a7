"""What Meta's Cloud API posts to a webhook: who signed it, with which secrets, its messages, and what they say."""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from mimetypes import guess_extension
from typing import Any

from pydantic_core import from_json

from deeplens.errors import SecretStoreUnavailable
from deeplens.events.whatsapp import WhatsAppMessage

PERSON, GROUP = "s.whatsapp.net", "g.us"
"""What follows the ``@`` of a chat's JID."""
MAX_CONTENT, MAX_CAPTION, MAX_NAME, MAX_MEDIA_TEXT = 4096, 1024, 200, 500
"""Characters that are kept."""
MEDIA_TYPES = ("image", "video", "document", "audio", "sticker")


@dataclass(frozen=True, slots=True)
class Media:
    """A file of a message, to be fetched by its id."""

    id: str
    mime_type: str
    file_name: str | None = None


@dataclass(frozen=True, slots=True)
class WhatsAppSecrets:
    """Empty ones are not set.

    Attributes
    ----------
    app_secret : signs the webhooks of the Meta app.
    verify_token : Meta sends it once, when the webhook is set up.
    access_token : authenticates calls of the Graph API.
    """

    app_secret: str = field(default="", repr=False)
    verify_token: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)

    def with_defaults(self, stored: str) -> "WhatsAppSecrets":
        """These, with the ones in a JSON object for those not set. Raises ``SecretStoreUnavailable`` for other JSON."""
        try:
            defaults = from_json(stored or "{}")
            return WhatsAppSecrets(
                self.app_secret or str(defaults.get("appSecret") or ""),
                self.verify_token or str(defaults.get("verifyToken") or ""),
                self.access_token or str(defaults.get("accessToken") or ""),
            )
        except (AttributeError, ValueError):
            raise SecretStoreUnavailable("WhatsApp's secret is no JSON object") from None


def is_signed(body: bytes, signature: str | None, secret: str) -> bool:
    """Whether ``X-Hub-Signature-256`` is that of these bytes: ``sha256=`` and the HMAC-SHA256 in hexadecimal."""
    expected = f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"
    return hmac.compare_digest(expected.encode(), (signature or "").encode(errors="replace"))


def messages_of(payload: Any) -> tuple[list[WhatsAppMessage], int]:
    """The messages of a webhook's body, in order, and how many were not understood.

    Statuses of messages that were sent, and changes of other fields, hold none.
    """
    messages: list[WhatsAppMessage] = []
    skipped = 0
    for value in _values(payload):
        for posted in _list(value.get("messages")):
            try:
                messages.append(_message(posted, value))
            except (AttributeError, KeyError, TypeError, ValueError):
                skipped += 1
    return messages, skipped


def media_of(message: WhatsAppMessage) -> Media | None:
    """The file of a message, if it has one that can be fetched."""
    media = _dict(message.metadata.get("media"))
    media_id, name = media.get("id"), media.get("fileName")
    if not isinstance(media_id, str) or not media_id:
        return None
    return Media(media_id, str(media.get("mimeType") or ""), name if isinstance(name, str) else None)


def text_in_metadata(message: WhatsAppMessage, name: str) -> str:
    """A text of the message's metadata, e.g. ``sender``; empty where there is none."""
    text = message.metadata.get(name)
    return text if isinstance(text, str) else ""


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
    metadata = {
        "source": "whatsapp",
        "chat": message.chat_jid,
        "sender": text_in_metadata(message, "sender"),
        "senderName": text_in_metadata(message, "senderName"),
        "caption": (message.content or "")[:MAX_CAPTION],
    }
    return {name: value for name, value in metadata.items() if value}


def _values(payload: Any) -> Iterator[dict[str, Any]]:
    for entry in _list(_dict(payload).get("entry")):
        for change in map(_dict, _list(_dict(entry).get("changes"))):
            if change.get("field") == "messages":
                yield _dict(change.get("value"))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _message(posted: dict[str, Any], value: dict[str, Any]) -> WhatsAppMessage:
    """Raises ``KeyError``, ``TypeError`` or ``ValueError`` for what is no message."""
    kind, sender, group = str(posted["type"]), str(posted["from"]), posted.get("group_id")
    part = _dict(posted.get(kind))
    content = part.get("body" if kind == "text" else "caption")
    metadata = {
        "isGroup": group is not None,
        "sender": sender,
        "senderName": _name(value, sender),
        "phoneNumberId": str(value["metadata"]["phone_number_id"]),
        "media": _media(part) if kind in MEDIA_TYPES and isinstance(posted.get(kind), dict) else None,
    }
    return WhatsAppMessage(
        message_id=posted["id"],
        chat_jid=f"{group}@{GROUP}" if group is not None else f"{sender}@{PERSON}",
        from_me=False,
        message_type=kind,
        content=content[:MAX_CONTENT] if isinstance(content, str) else None,
        timestamp=int(posted["timestamp"]),
        metadata={name: field for name, field in metadata.items() if field is not None},
    )


def _name(value: dict[str, Any], sender: str) -> str | None:
    for contact in map(_dict, _list(value.get("contacts"))):
        if contact.get("wa_id") == sender and isinstance(contact.get("profile"), dict):
            name = contact["profile"].get("name")
            return name[:MAX_NAME] if isinstance(name, str) else None
    return None


def _media(part: dict[str, Any]) -> dict[str, str]:
    fields = {"id": part.get("id"), "mimeType": part.get("mime_type"), "fileName": part.get("filename")}
    return {name: field[:MAX_MEDIA_TEXT] for name, field in fields.items() if isinstance(field, str)}
