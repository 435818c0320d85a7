"""/v1/admin/tenants/{id}/whatsapp: chats of a tenant, rules for their messages, and the results of messages."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from deeplens.access.caller import Administrator, operator
from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.http.schemas import view
from deeplens.images.model import about_media
from deeplens.whatsapp.chats import Chat, Chats, Handled, Reply, Rule
from deeplens.whatsapp.schemas import (
    ChatList,
    ChatRequest,
    ChatView,
    MessageList,
    MessageView,
    ReplyView,
    RuleList,
    RuleRequest,
    RuleView,
)

MAX_RULES, MAX_CHATS = 100, 1000

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/whatsapp", tags=["whatsapp"])
ChatsPort = Injected[Chats]


def rule_in_path(tenant: Administrator, chats: ChatsPort, rule_id: str) -> Rule:
    """Raises 404 if the tenant has no rule with this id."""
    for rule in chats.rules([tenant.id]):
        if rule.id == rule_id:
            return rule
    raise _no_rule(tenant.id, rule_id)


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
        detail = f"{tenant.id} has no chat {chat_id[:64]}."
        raise ApiError(404, "chat-not-found", "Chat not found", detail)


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
        raise _no_rule(tenant.id, rule_id)


@router.get("/messages", summary="What became of messages", responses=responses(404))
def list_messages(
    tenant: Administrator, chats: ChatsPort, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> MessageList:
    """Messages of linked chats. Nothing is stored about other chats."""
    return MessageList(messages=[_message_view(*message) for message in chats.messages(tenant.id, limit)])


def _no_rule(tenant_id: str, rule_id: str) -> ApiError:
    return ApiError(404, "rule-not-found", "Rule not found", f"{tenant_id} has no rule {rule_id[:64]}.")


def _save(chats: Chats, rule_id: str, tenant_id: str, request: RuleRequest, position: int) -> RuleView:
    """Save a rule, at ``position`` unless the request names one."""
    rule = Rule(
        id=rule_id,
        tenant_id=tenant_id,
        position=position if request.position is None else request.position,
        actions=tuple(dict.fromkeys(request.actions)),
        types=_tuple(request.types),
        senders=_tuple(request.senders),
        groups=_tuple(request.groups),
        in_group=request.in_group,
        text=request.text,
        tags=tuple(dict.fromkeys(request.tags)),
    )
    chats.save_rule(rule)
    return _rule_view(rule)


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _chat_view(chat: Chat) -> ChatView:
    return view(ChatView, chat, chat_id=chat.id, chat_jid=chat.jid)


def _rule_view(rule: Rule) -> RuleView:
    return view(RuleView, rule, rule_id=rule.id)


def _message_view(handled: Handled, reply: Reply | None) -> MessageView:
    media = {"image_id": None, **about_media(handled.image_id)}
    return view(MessageView, handled, **media, reply=reply and view(ReplyView, reply))
