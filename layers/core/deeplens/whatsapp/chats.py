"""Chats of tenants, rules for their messages, results, replies and when they are retried, and the ports."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from deeplens.events.images import ImageUploaded
from deeplens.events.videos import VideoUploaded
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.whatsapp.answers import ChatTally
from deeplens.whatsapp.incoming import text_in_metadata

Outcome = Literal["ingested", "answered", "forwarded", "ignored", "refused"]
type Uploaded = ImageUploaded | VideoUploaded
ReplyState = Literal["awaiting", "waiting", "sent", "failed"]
RETRY_DELAYS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 3 * 60, 6 * 60, 12 * 60))
"""After each failure. They end within a day: WhatsApp lets a business write only for 24 hours after a message."""
MIN_CHECK_DELAY, MAX_CHECK_DELAY = timedelta(minutes=1), timedelta(hours=6)
"""Between the checks whether an image or a video has ended although no notification came."""


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat linked to the one tenant that its messages belong to; its id follows from its JID."""

    jid: str
    tenant_id: str
    name: str
    linked_at: datetime

    @property
    def id(self) -> str:
        return chat_id(self.jid)


Action = Literal["ingest", "webhook", "ignore"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do with messages that fit every condition; a condition that is None fits all.

    Attributes
    ----------
    position : rules are checked in this order, then by id.
    types : of messages, e.g. ``image``.
    senders : phone numbers, digits only.
    groups : JIDs of groups.
    in_group : whether the message was written in any group.
    text : part of the text or caption, ignoring case.
    actions : what is done; ``ignore`` stands alone.
    tags : of images that are ingested.
    """

    id: str
    tenant_id: str
    position: int
    actions: tuple[Action, ...]
    types: tuple[str, ...] | None = None
    senders: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    in_group: bool | None = None
    text: str | None = None
    tags: tuple[str, ...] = ()

    def fits(self, message: WhatsAppMessage) -> bool:
        return (
            (self.types is None or message.message_type in self.types)
            and (self.senders is None or text_in_metadata(message, "sender") in self.senders)
            and (self.groups is None or message.chat_jid in self.groups)
            and (self.in_group is None or self.in_group == bool(message.metadata.get("isGroup")))
            and (self.text is None or self.text.casefold() in (message.content or "").casefold())
        )


DEFAULT = Rule("", "", 0, ("ingest",))
"""Where no rule fits: media are ingested, commands answered."""


def rule_for(rules: Sequence[Rule], message: WhatsAppMessage) -> Rule:
    """The first rule that fits, by position."""
    ordered = sorted(rules, key=lambda rule: (rule.position, rule.id))
    return next((rule for rule in ordered if rule.fits(message)), DEFAULT)


@dataclass(frozen=True, slots=True)
class Effect:
    """What handling a message did, and what remains to be done.

    Attributes
    ----------
    reason, code : why the message was ignored or refused.
    text : the answer; None where there is none, or where it has to wait for ``image_id``.
    image_id : the image, or video, that the message became.
    events : must be published, so that the image is processed.
    """

    outcome: Outcome
    reason: str | None = None
    code: str | None = None
    text: str | None = None
    image_id: str | None = None
    file_name: str | None = None
    events: tuple[Uploaded, ...] = ()


@dataclass(frozen=True, slots=True)
class Handled:
    """The result of a message; it never changes.

    Attributes
    ----------
    outcome : ``refused`` media got a reason instead of a place in the collection.
    reason : why it was ignored or refused; ``code`` names the refusal.
    image_id : the image, or video, that it became.
    forwarded : whether the tenant's webhooks were notified.
    """

    message_id: str
    tenant_id: str
    chat_jid: str
    type: str
    outcome: Outcome
    received_at: datetime
    reason: str | None = None
    code: str | None = None
    rule_id: str | None = None
    image_id: str | None = None
    forwarded: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A text for a chat.

    Attributes
    ----------
    state : ``awaiting`` the end of ``image_id``, ``waiting`` to be sent.
    text : None while the image has not ended.
    """

    id: str
    tenant_id: str
    chat_jid: str
    message_id: str
    phone_number_id: str
    created_at: datetime
    next_at: datetime
    state: ReplyState = "waiting"
    text: str | None = None
    image_id: str | None = None
    file_name: str | None = None
    attempts: int = 0
    last_error: str | None = None
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ImageEnd:
    """An image, or video, that has ended; ``error`` is None when it is searchable."""

    tenant_id: str
    image_id: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """The result of an attempt to send: sent if there is no error; an attempt with a ``transient`` one is repeated."""

    error: str | None = None
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows for the reply; ``next_at`` is the time of the next attempt, None when there is none."""

    state: Literal["waiting", "sent", "failed"]
    next_at: datetime | None = None
    error: str | None = None


def judge(attempts: int, sent: Sent, now: datetime) -> Verdict:
    """Decide what follows from attempt number ``attempts``."""
    if sent.error is None:
        return Verdict("sent")
    if not sent.transient or attempts > len(RETRY_DELAYS):
        return Verdict("failed", error=sent.error)
    return Verdict("waiting", now + RETRY_DELAYS[attempts - 1], sent.error)


def next_check(created_at: datetime, now: datetime) -> datetime:
    """When to check again an image that has not ended: after as long as its reply has waited so far."""
    return now + min(max(now - created_at, MIN_CHECK_DELAY), MAX_CHECK_DELAY)


def chat_id(jid: str) -> str:
    return "wac_" + hashlib.sha256(jid.encode()).hexdigest()[:26]


def reply_id(message_id: str) -> str:
    """The same for the same message: a message has one reply."""
    return "war_" + hashlib.sha256(message_id.encode()).hexdigest()[:32]


def send_request(reply_id: str, chat_jid: str, text: str | None, now: datetime) -> WhatsAppMessage:
    """The event that has a reply sent: a message of our own."""
    return WhatsAppMessage(
        message_id=reply_id,
        chat_jid=chat_jid,
        from_me=True,
        message_type="text",
        content=text,
        timestamp=int(now.timestamp()),
    )


class Chats(Protocol):
    """Linked chats, rules and handled messages, of all tenants (platform database). Raises ``DatabaseUnavailable``."""

    def of_tenant(self, tenant_id: str) -> list[Chat]:
        """By JID."""

    def linked(self, jids: Sequence[str]) -> dict[str, Chat]:
        """Return chats by JID; unlinked ones are absent."""

    def link(self, chat: Chat) -> Chat:
        """Link it unless it is linked; returns the chat as it is then, which may be another tenant's."""

    def unlink(self, tenant_id: str, chat_id: str) -> bool:
        """Unlink it and drop the replies that wait for it. False when the tenant has no such chat."""

    def rules(self, tenant_ids: Sequence[str]) -> list[Rule]:
        """By tenant, then in the order in which they are checked."""

    def save_rule(self, rule: Rule) -> None:
        """Create or replace it."""

    def remove_rule(self, tenant_id: str, rule_id: str) -> bool: ...

    def handled(self, message_ids: Sequence[str]) -> dict[str, Handled]:
        """Return the state of messages of any tenant; unknown ones are absent."""

    def record(self, handled: Handled, reply: Reply | None) -> bool:
        """Store both or neither. False, and nothing changes, when the message was handled before."""

    def messages(self, tenant_id: str, limit: int) -> list[tuple[Handled, Reply | None]]:
        """Newest first."""

    def tally(self, tenant_id: str, chat_jid: str) -> ChatTally: ...

    def forget(self, before: datetime, limit: int) -> int:
        """Delete messages handled before then, with their replies; returns how many messages."""


class Replies(Protocol):
    """Unsent replies of all tenants (platform database). Raises ``DatabaseUnavailable``."""

    def end(self, ended: Sequence[ImageEnd], now: datetime) -> list[Reply]:
        """Give replies that await these images their texts; returns them with those that had theirs but are unsent."""

    def awaiting(self, reply_ids: Sequence[str]) -> list[Reply]:
        """Those whose images have not ended as far as is known."""

    def claim(self, reply_ids: Sequence[str], now: datetime, until: datetime) -> list[Reply]:
        """Lease those that wait to be sent and are due, of chats still linked to the reply's tenant.

        No other caller gets them before ``until``.
        """

    def settle(self, reply: Reply, verdict: Verdict, now: datetime) -> None:
        """Store the result of an attempt."""

    def put_off(self, reply_ids: Sequence[str], next_at: datetime) -> None:
        """Let replies that have not ended be due then."""

    def overdue(self, now: datetime, limit: int) -> list[Reply]:
        """Due replies, the oldest first. One query over all tenants."""


class WhatsApp(Protocol):
    """The Cloud API, as far as chats need it. No call follows a redirect or reaches an internal address."""

    def fetch(self, media_id: str, max_bytes: int) -> bytes:
        """Download a file that somebody sent.

        Raises
        ------
        MediaExpired
            It is no longer there; sending it again helps, another attempt does not.
        FileTooLarge
        WhatsAppUnavailable
            No answer, a busy one, or credentials that are not accepted.
        """

    def send(self, phone_number_id: str, chat_jid: str, text: str, reply_to: str) -> Sent:
        """Write to a chat, quoting the message ``reply_to``. Never raises for what the other end does."""
