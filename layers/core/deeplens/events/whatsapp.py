"""Messages from WhatsApp."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from deeplens.common.event import Event, WhatsAppId


class WhatsAppMessage(Event):
    """A message of a chat, or with ``from_me`` a reply of ours, by its own id, that is to be sent."""

    message_id: WhatsAppId
    chat_jid: WhatsAppId
    from_me: bool
    message_type: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")]
    content: str | None = None
    timestamp: int = Field(ge=0, le=253_402_300_799, description="seconds since the epoch")
    metadata: dict[str, Any] = {}

    @property
    def key(self) -> str:
        return self.chat_jid
