"""Bodies of the Admin API about WhatsApp chats."""

from typing import Annotated, Self

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from deeplens.http.schemas import AT, ID, PRINTABLE, ApiModel, Request, example
from deeplens.images.schemas import Tags
from deeplens.whatsapp.chats import Action, Outcome, ReplyState

Jid = Annotated[str, StringConstraints(pattern=r"^([0-9]{5,20}@s\.whatsapp\.net|[A-Za-z0-9._=+/-]{1,200}@g\.us)$")]
GroupJid = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._=+/-]{1,200}@g\.us$")]
Sender = Annotated[str, StringConstraints(pattern=r"^[0-9]{5,20}$")]
ChatName = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
MessageType = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")]
SearchedText = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=PRINTABLE)]
CHAT = {
    "chatId": "wac_2f1c7e9a0b3d4c5e6f708192a3",
    "chatJid": "4915112345678@s.whatsapp.net",
    "name": "Front desk",
    "linkedAt": AT,
}
RULE = {"position": 1, "types": ["image"], "inGroup": True, "actions": ["ingest"], "tags": ["team"]}
RULE_VIEW = {"ruleId": "rul_01kd1v8q4w2m6n9r5t7x3z0abc", **RULE}
MESSAGE = {
    "messageId": "wamid.HBgMNDkxNTExMjM0NTY3OBUCABIYFDNB",
    "chatJid": "4915112345678@s.whatsapp.net",
    "type": "image",
    "outcome": "ingested",
    "receivedAt": AT,
    "imageId": ID,
    "reply": {"state": "sent", "text": "harbour.jpg is searchable now.", "attempts": 1, "sentAt": AT},
}


class ChatRequest(Request):
    model_config = example({"chatJid": "4915112345678@s.whatsapp.net", "name": "Front desk"})

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


class RuleRequest(Request):
    """A condition that is absent matches every message; the first rule that matches decides."""

    model_config = example(RULE)

    position: int | None = Field(
        default=None, ge=0, le=1_000_000, description="rules are checked in this order; by default after all others"
    )
    types: Annotated[list[MessageType], Field(min_length=1, max_length=20)] | None = None
    senders: Annotated[list[Sender], Field(min_length=1, max_length=200)] | None = None
    groups: Annotated[list[GroupJid], Field(min_length=1, max_length=200)] | None = None
    in_group: bool | None = None
    text: SearchedText | None = Field(default=None, description="part of the text or caption, ignoring case")
    actions: Annotated[list[Action], Field(min_length=1, max_length=2)]
    tags: Tags = Field(default=[], description="of images that are ingested")

    @model_validator(mode="after")
    def _check_actions(self) -> Self:
        if "ignore" in self.actions and len(self.actions) > 1:
            raise ValueError("ignore cannot be combined with other actions")
        if self.tags and "ingest" not in self.actions:
            raise ValueError("tags need the action ingest")
        return self


class RuleView(ApiModel):
    model_config = example(RULE_VIEW)

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
    model_config = example({"rules": [RULE_VIEW]})

    rules: list[RuleView] = Field(description="in the order in which they are checked")


class ReplyView(ApiModel):
    """A reply is ``awaiting`` the end of its image, or ``waiting`` to be sent."""

    state: ReplyState
    text: str | None = None
    attempts: int
    last_error: str | None = None
    sent_at: AwareDatetime | None = None


class MessageView(ApiModel):
    """A file that was ``refused`` is not in the collection; ``code`` and ``reason`` say why."""

    model_config = example(MESSAGE)

    message_id: str
    chat_jid: str
    type: str
    outcome: Outcome
    received_at: AwareDatetime
    reason: str | None = None
    code: str | None = None
    rule_id: str | None = None
    image_id: str | None = None
    video_id: str | None = None
    forwarded: bool = Field(default=False, description="whether webhooks were notified")
    reply: ReplyView | None = None


class MessageList(ApiModel):
    model_config = example({"messages": [MESSAGE]})

    messages: list[MessageView] = Field(description="newest first; kept for 30 days")
