"""/v1/admin/tenants/{id}/whatsapp: chats of a tenant, rules for their messages, and what became of those."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from deeplens.access.caller import Administrator, operator
from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.videos.notifications import about_media
from deeplens.whatsapp.chats import Chat, Chats, Handled, Reply
from deeplens.whatsapp.rules import Rule
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


@router.get("/chats", summary="Linked chats", responses=responses(404))
def list_chats(tenant: Administrator, chats: ChatsPort) -> ChatList:
    return ChatList(chats=[_chat(chat) for chat in chats.of_tenant(tenant.id)])


@router.post(
    "/chats",
    status_code=201,
    summary="Link a chat",
    responses=responses(404, 409),
    dependencies=[Depends(operator)],
)
def link_chat(tenant: Administrator, chats: ChatsPort, clock: Injected[Clock], wanted: ChatRequest) -> ChatView:
    """For operators, as nothing shows whose a number is. A chat of this tenant already stays as it is."""
    known = {chat.jid for chat in chats.of_tenant(tenant.id)}
    if len(known) >= MAX_CHATS and wanted.chat_jid not in known:
        raise ApiError(409, "too-many-chats", "Too many chats", f"A tenant has at most {MAX_CHATS}; unlink one.")
    linked = chats.link(Chat(wanted.chat_jid, tenant.id, wanted.name, clock.now()))
    if linked.tenant_id != tenant.id:
        detail = f"{wanted.chat_jid} belongs to {linked.tenant_id}; unlink it there first."
        raise ApiError(409, "chat-linked", "Chat linked elsewhere", detail)
    return _chat(linked)


@router.delete("/chats/{chat_id}", status_code=204, summary="Unlink a chat", responses=responses(404))
def unlink_chat(tenant: Administrator, chats: ChatsPort, chat_id: str) -> None:
    """Its messages are ignored from now on, and nothing more is written to it. Images stay."""
    if not chats.unlink(tenant.id, chat_id):
        detail = f"{tenant.id} has no chat {chat_id[:64]}."
        raise ApiError(404, "chat-not-found", "Chat not found", detail)


@router.get("/rules", summary="Rules for messages", responses=responses(404))
def list_rules(tenant: Administrator, chats: ChatsPort) -> RuleList:
    return RuleList(rules=[_shown(rule) for rule in chats.rules([tenant.id])])


@router.post("/rules", status_code=201, summary="Add a rule", responses=responses(404, 409))
def add_rule(tenant: Administrator, chats: ChatsPort, clock: Injected[Clock], wanted: RuleRequest) -> RuleView:
    """In effect for the next message."""
    rules = chats.rules([tenant.id])
    if len(rules) >= MAX_RULES:
        raise ApiError(409, "too-many-rules", "Too many rules", f"A tenant has at most {MAX_RULES}; remove one.")
    last = max((rule.position for rule in rules), default=0)
    return _saved(chats, _rule(new_id("rul", clock.now()), tenant.id, wanted, last + 1))


@router.get("/rules/{rule_id}", summary="One rule", responses=responses(404))
def rule_detail(tenant: Administrator, chats: ChatsPort, rule_id: str) -> RuleView:
    return _shown(_found(chats, tenant.id, rule_id))


@router.put("/rules/{rule_id}", summary="Replace a rule", responses=responses(404))
def replace_rule(tenant: Administrator, chats: ChatsPort, rule_id: str, wanted: RuleRequest) -> RuleView:
    """Without ``position`` it stays where it is."""
    known = _found(chats, tenant.id, rule_id)
    return _saved(chats, _rule(known.id, tenant.id, wanted, known.position))


@router.delete("/rules/{rule_id}", status_code=204, summary="Remove a rule", responses=responses(404))
def remove_rule(tenant: Administrator, chats: ChatsPort, rule_id: str) -> None:
    if not chats.remove_rule(tenant.id, rule_id):
        raise _no_rule(tenant.id, rule_id)


@router.get("/messages", summary="What became of messages", responses=responses(404))
def list_messages(
    tenant: Administrator, chats: ChatsPort, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> MessageList:
    """Those of linked chats; of others nothing is kept."""
    return MessageList(messages=[_message(*one) for one in chats.messages(tenant.id, limit)])


def _found(chats: Chats, tenant_id: str, rule_id: str) -> Rule:
    for rule in chats.rules([tenant_id]):
        if rule.id == rule_id:
            return rule
    raise _no_rule(tenant_id, rule_id)


def _no_rule(tenant_id: str, rule_id: str) -> ApiError:
    return ApiError(404, "rule-not-found", "Rule not found", f"{tenant_id} has no rule {rule_id[:64]}.")


def _saved(chats: Chats, rule: Rule) -> RuleView:
    chats.save_rule(rule)
    return _shown(rule)


def _rule(rule_id: str, tenant_id: str, wanted: RuleRequest, position: int) -> Rule:
    return Rule(
        id=rule_id,
        tenant_id=tenant_id,
        position=position if wanted.position is None else wanted.position,
        actions=tuple(dict.fromkeys(wanted.actions)),
        types=_tuple(wanted.types),
        senders=_tuple(wanted.senders),
        groups=_tuple(wanted.groups),
        in_group=wanted.in_group,
        text=wanted.text,
        tags=tuple(dict.fromkeys(wanted.tags)),
    )


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _list(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


def _chat(chat: Chat) -> ChatView:
    return ChatView(chat_id=chat.id, chat_jid=chat.jid, name=chat.name, linked_at=chat.linked_at)


def _shown(rule: Rule) -> RuleView:
    return RuleView(
        rule_id=rule.id,
        position=rule.position,
        types=_list(rule.types),
        senders=_list(rule.senders),
        groups=_list(rule.groups),
        in_group=rule.in_group,
        text=rule.text,
        actions=list(rule.actions),
        tags=list(rule.tags),
    )


def _message(handled: Handled, reply: Reply | None) -> MessageView:
    same = ("message_id", "chat_jid", "type", "outcome", "received_at", "reason", "code", "rule_id")
    return MessageView(
        **{name: getattr(handled, name) for name in same},
        **about_media(handled.image_id),
        forwarded=handled.forwarded,
        reply=None if reply is None else _reply(reply),
    )


def _reply(reply: Reply) -> ReplyView:
    same = ("state", "text", "attempts", "last_error", "sent_at")
    return ReplyView(**{name: getattr(reply, name) for name in same})
