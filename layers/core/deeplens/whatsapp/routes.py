"""/v1/admin/tenants/{id}/whatsapp: chats of a tenant, rules for messages, and the results of messages; bodies first."""

from dataclasses import replace
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from deeplens.access.caller import Administrator, operator
from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected
from deeplens.http.problems import not_found, responses
from deeplens.http.schemas import AT, ID, PRINTABLE, ApiModel, Request, example, view
from deeplens.images.model import about_media
from deeplens.images.schemas import Tags
from deeplens.whatsapp.chats import Action, Chat, Chats, Handled, Outcome, Reply, ReplyState, Rule

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


MAX_RULES, MAX_CHATS = 100, 1000

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/whatsapp", tags=["whatsapp"])
ChatsPort = Injected[Chats]


def rule_in_path(tenant: Administrator, chats: ChatsPort, rule_id: str) -> Rule:
    for rule in chats.rules([tenant.id]):
        if rule.id == rule_id:
            return rule
    raise not_found("rule", rule_id, tenant.id)


RuleInPath = Annotated[Rule, Depends(rule_in_path)]


@router.get("/chats", summary="Linked chats", responses=responses(404))
def list_chats(tenant: Administrator, chats: ChatsPort) -> ChatList:
    return ChatList(chats=[_chat_view(chat) for chat in chats.of_tenant(tenant.id)])


@router.post(
    "/chats",
    status_code=201,
    summary="Link a chat",
    responses=responses(404, 409),
    dependencies=[Depends(operator)],
)
def link_chat(tenant: Administrator, chats: ChatsPort, clock: Injected[Clock], request: ChatRequest) -> ChatView:
    """Only for operators, because nothing proves whose number it is. A chat of this tenant already stays as it is."""
    known = {chat.jid for chat in chats.of_tenant(tenant.id)}
    if len(known) >= MAX_CHATS and request.chat_jid not in known:
        raise ApiError(409, "too-many-chats", "Too many chats", f"A tenant has at most {MAX_CHATS}; unlink one.")
    linked = chats.link(Chat(request.chat_jid, tenant.id, request.name, clock.now()))
    if linked.tenant_id != tenant.id:
        detail = f"{request.chat_jid} belongs to {linked.tenant_id}; unlink it there first."
        raise ApiError(409, "chat-linked", "Chat linked elsewhere", detail)
    return _chat_view(linked)


@router.delete("/chats/{chat_id}", status_code=204, summary="Unlink a chat", responses=responses(404))
def unlink_chat(tenant: Administrator, chats: ChatsPort, chat_id: str) -> None:
    """Its messages are ignored from now on, and it receives no more replies. Images stay."""
    if not chats.unlink(tenant.id, chat_id):
        raise not_found("chat", chat_id, tenant.id)


@router.get("/rules", summary="Rules for messages", responses=responses(404))
def list_rules(tenant: Administrator, chats: ChatsPort) -> RuleList:
    return RuleList(rules=[_rule_view(rule) for rule in chats.rules([tenant.id])])


@router.post("/rules", status_code=201, summary="Add a rule", responses=responses(404, 409))
def add_rule(tenant: Administrator, chats: ChatsPort, clock: Injected[Clock], request: RuleRequest) -> RuleView:
    """The rule is in effect for the next message."""
    rules = chats.rules([tenant.id])
    if len(rules) >= MAX_RULES:
        raise ApiError(409, "too-many-rules", "Too many rules", f"A tenant has at most {MAX_RULES}; remove one.")
    last = max((rule.position for rule in rules), default=0)
    return _save(chats, new_id("rul", clock.now()), tenant.id, request, last + 1)


@router.get("/rules/{rule_id}", summary="One rule", responses=responses(404))
def rule_detail(rule: RuleInPath) -> RuleView:
    return _rule_view(rule)


@router.put("/rules/{rule_id}", summary="Replace a rule", responses=responses(404))
def replace_rule(rule: RuleInPath, chats: ChatsPort, request: RuleRequest) -> RuleView:
    """Without ``position`` it stays where it is."""
    return _save(chats, rule.id, rule.tenant_id, request, rule.position)


@router.delete("/rules/{rule_id}", status_code=204, summary="Remove a rule", responses=responses(404))
def remove_rule(tenant: Administrator, chats: ChatsPort, rule_id: str) -> None:
    if not chats.remove_rule(tenant.id, rule_id):
        raise not_found("rule", rule_id, tenant.id)


@router.get("/messages", summary="What became of messages", responses=responses(404))
def list_messages(
    tenant: Administrator, chats: ChatsPort, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> MessageList:
    """Messages of linked chats. Nothing is stored about other chats."""
    return MessageList(messages=[_message_view(*message) for message in chats.messages(tenant.id, limit)])


def _save(chats: Chats, rule_id: str, tenant_id: str, request: RuleRequest, position: int) -> RuleView:
    """Save a rule, at ``position`` unless the request names one."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in dict(request).items()
    }
    rule = replace(
        Rule(rule_id, tenant_id, **fields),
        position=position if request.position is None else request.position,
        actions=tuple(dict.fromkeys(request.actions)),
        tags=tuple(dict.fromkeys(request.tags)),
    )
    chats.save_rule(rule)
    return _rule_view(rule)


def _chat_view(chat: Chat) -> ChatView:
    return view(ChatView, chat, chat_id=chat.id, chat_jid=chat.jid)


def _rule_view(rule: Rule) -> RuleView:
    return view(RuleView, rule, rule_id=rule.id)


def _message_view(handled: Handled, reply: Reply | None) -> MessageView:
    media = {"image_id": None, **about_media(handled.image_id)}
    return view(MessageView, handled, **media, reply=reply and view(ReplyView, reply))
