"""What Meta's Cloud API posts to a webhook: who signed it, and the messages in it."""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deeplens.events.whatsapp import WhatsAppMessage

PERSON, GROUP = "s.whatsapp.net", "g.us"
"""What follows the ``@`` of a chat's JID."""
MAX_CONTENT = 4096
WITH_MEDIA = ("image", "video", "document", "audio", "sticker")


@dataclass(frozen=True, slots=True)
class Media:
    """A file of a message, to be fetched by its id."""

    id: str
    mime_type: str
    file_name: str | None = None


def is_signed(body: bytes, signature: str | None, secret: str) -> bool:
    """Whether ``X-Hub-Signature-256`` is that of these bytes: ``sha256=`` and the HMAC-SHA256 in hexadecimal."""
    good = f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"
    return hmac.compare_digest(good.encode(), (signature or "").encode(errors="replace"))


def messages_of(payload: Any) -> tuple[list[WhatsAppMessage], int]:
    """The messages of a webhook's body, in order, and how many were not understood.

    Statuses of messages that were sent, and changes of other fields, hold none.
    """
    read: list[WhatsAppMessage] = []
    strange = 0
    for value in _values(payload):
        for one in _list(value.get("messages")):
            try:
                read.append(_message(one, value))
            except (AttributeError, KeyError, TypeError, ValueError):
                strange += 1
    return read, strange


def media_of(message: WhatsAppMessage) -> Media | None:
    """The file of a message, if it has one that can be fetched."""
    given = message.metadata.get("media")
    if not isinstance(given, dict) or not isinstance(given.get("id"), str) or not given["id"]:
        return None
    name, mime_type = given.get("fileName"), given.get("mimeType")
    return Media(given["id"], str(mime_type or ""), name if isinstance(name, str) else None)


def said(message: WhatsAppMessage, name: str) -> str:
    """A text of the message's metadata, e.g. ``sender``; empty where there is none."""
    found = message.metadata.get(name)
    return found if isinstance(found, str) else ""


def _values(payload: Any) -> Iterator[dict[str, Any]]:
    entries = _list(payload.get("entry")) if isinstance(payload, dict) else []
    for entry in entries:
        for change in _list(entry.get("changes")) if isinstance(entry, dict) else []:
            if isinstance(change, dict) and change.get("field") == "messages" and isinstance(change.get("value"), dict):
                yield change["value"]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _message(given: dict[str, Any], value: dict[str, Any]) -> WhatsAppMessage:
    """Raises ``KeyError``, ``TypeError`` or ``ValueError`` for what is no message."""
    kind, sender, group = str(given["type"]), str(given["from"]), given.get("group_id")
    part = given.get(kind)
    content = part.get("body" if kind == "text" else "caption") if isinstance(part, dict) else None
    metadata = {
        "isGroup": group is not None,
        "sender": sender,
        "senderName": _name(value, sender),
        "phoneNumberId": str(value["metadata"]["phone_number_id"]),
        "media": _media(part) if kind in WITH_MEDIA and isinstance(part, dict) else None,
    }
    return WhatsAppMessage(
        message_id=given["id"],
        chat_jid=f"{group}@{GROUP}" if group is not None else f"{sender}@{PERSON}",
        from_me=False,
        message_type=kind,
        content=content[:MAX_CONTENT] if isinstance(content, str) else None,
        timestamp=int(given["timestamp"]),
        metadata={name: one for name, one in metadata.items() if one is not None},
    )


def _name(value: dict[str, Any], sender: str) -> str | None:
    for contact in _list(value.get("contacts")):
        if isinstance(contact, dict) and contact.get("wa_id") == sender and isinstance(contact.get("profile"), dict):
            name = contact["profile"].get("name")
            return name[:200] if isinstance(name, str) else None
    return None


def _media(part: dict[str, Any]) -> dict[str, str]:
    known = {"id": part.get("id"), "mimeType": part.get("mime_type"), "fileName": part.get("filename")}
    return {name: one[:500] for name, one in known.items() if isinstance(one, str)}
