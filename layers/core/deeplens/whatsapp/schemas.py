"""What the Admin API takes and gives about chats of WhatsApp."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints, model_validator

from deeplens.http.schemas import AT, ID, PRINTABLE, ApiModel, example
from deeplens.images.schemas import Tags

Jid = Annotated[str, StringConstraints(pattern=r"^([0-9]{5,20}@s\.whatsapp\.net|[A-Za-z0-9._=+/-]{1,200}@g\.us)$")]
GroupJid = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._=+/-]{1,200}@g\.us$")]
Sender = Annotated[str, StringConstraints(pattern=r"^[0-9]{5,20}$")]
ChatName = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
MessageType = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")]
Part = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=PRINTABLE)]
Action = Literal["ingest", "webhook", "ignore"]
CHAT = {
    "chatId": "wac_2f1c7e9a0b3d4c5e6f708192a3",
    "chatJid": "4915112345678@s.whatsapp.net",
    "name": "Front desk",
    "linkedAt": AT,
}
RULE = {"position": 1, "types": ["image"], "inGroup": True, "actions": ["ingest"], "tags": ["team"]}
MESSAGE = {
    "messageId": "wamid.HBgMNDkxNTExMjM0NTY3OBUCABIYFDNB",
    "chatJid": "4915112345678@s.whatsapp.net",
    "type": "image",
    "outcome": "ingested",
    "receivedAt": AT,
    "imageId": ID,
    "reply": {"state": "sent", "text": "harbour.jpg is searchable now.", "attempts": 1, "sentAt": AT},
}


class ChatRequest(ApiModel):
    model_config = ConfigDict(
        extra="forbid", **example({"chatJid": "4915112345678@s.whatsapp.net", "name": "Front desk"})
    )

    chat_jid: Jid = Field(description="phone number@s.whatsapp.net, or group id@g.us")
    name: ChatName = ""


class ChatView(ApiModel):
    model_config = example(CHAT)

    chat_id: str
    chat_jid: str
    name: str
    linked_at: AwareDatetime


class ChatList(ApiModel):
    model_config = example({"chats": [CHAT]})

    chats: list[ChatView]


class RuleRequest(ApiModel):
    """Conditions that are absent fit every message; the first rule that fits decides."""

    model_config = ConfigDict(extra="forbid", **example(RULE))

    position: int | None = Field(
        default=None, ge=0, le=1_000_000, description="rules are asked in this order; by default after all others"
    )
    types: Annotated[list[MessageType], Field(min_length=1, max_length=20)] | None = None
    senders: Annotated[list[Sender], Field(min_length=1, max_length=200)] | None = None
    groups: Annotated[list[GroupJid], Field(min_length=1, max_length=200)] | None = None
    in_group: bool | None = None
    text: Part | None = Field(default=None, description="part of the text or caption, whatever its case")
    actions: Annotated[list[Action], Field(min_length=1, max_length=2)]
    tags: Tags = Field(default=[], description="of images that are ingested")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if "ignore" in self.actions and len(self.actions) > 1:
            raise ValueError("ignore stands alone")
        if self.tags and "ingest" not in self.actions:
            raise ValueError("tags are for images that are ingested")
        return self


class RuleView(ApiModel):
    model_config = example({"ruleId": "rul_01kd1v8q4w2m6n9r5t7x3z0abc", **RULE})

    rule_id: str
    position: int
    types: list[str] | None = None
    senders: list[str] | None = None
    groups: list[str] | None = None
    in_group: bool | None = None
    text: str | None = None
    actions: list[Action]
    tags: list[str]


class RuleList(ApiModel):
    model_config = example({"rules": [{"ruleId": "rul_01kd1v8q4w2m6n9r5t7x3z0abc", **RULE}]})

    rules: list[RuleView] = Field(description="in the order in which they are asked")


class ReplyView(ApiModel):
    """``awaiting`` the end of its image, ``waiting`` to be sent."""

    state: Literal["awaiting", "waiting", "sent", "failed"]
    text: str | None = None
    attempts: int
    last_error: str | None = None
    sent_at: AwareDatetime | None = None


class MessageView(ApiModel):
    """``refused`` media got a reason instead of a place in the collection; ``code`` names it."""

    model_config = example(MESSAGE)

    message_id: str
    chat_jid: str
    type: str
    outcome: Literal["ingested", "answered", "forwarded", "ignored", "refused"]
    received_at: AwareDatetime
    reason: str | None = None
    code: str | None = None
    rule_id: str | None = None
    image_id: str | None = None
    video_id: str | None = None
    forwarded: bool = Field(default=False, description="whether webhooks were told")
    reply: ReplyView | None = None


class MessageList(ApiModel):
    model_config = example({"messages": [MESSAGE]})

    messages: list[MessageView] = Field(description="newest first; kept for 30 days")
