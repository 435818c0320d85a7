"""Chats that belong to tenants, what became of their messages, and the replies that they wait for."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NewType, Protocol

from deeplens.events.images import ImageUploaded
from deeplens.events.videos import VideoUploaded
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.tenants.limits import Storage
from deeplens.tenants.model import Tenant
from deeplens.whatsapp.answers import ChatTally, Found, failed, searchable
from deeplens.whatsapp.delivery import Verdict
from deeplens.whatsapp.rules import Rule

type Outcome = Literal["ingested", "answered", "forwarded", "ignored", "refused"]
type Uploaded = ImageUploaded | VideoUploaded
type ReplyState = Literal["awaiting", "waiting", "sent", "failed"]
MaxMediaBytes = NewType("MaxMediaBytes", int)
"""Bytes of the largest file that is fetched from WhatsApp."""


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


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of a message, once and for all.

    Attributes
    ----------
    outcome : ``refused`` media got a reason instead of a place in the collection.
    image_id : the image, or video, that it became.
    reason : why it was ignored or refused; also the code of the refusal.
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
class Post:
    """A picture or video as a chat sent it."""

    message_id: str
    body: bytes
    file_name: str | None
    tags: tuple[str, ...]
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Ingested:
    """An accepted image, or video, and the events that have to be published for it to be processed."""

    image_id: str
    file_name: str
    events: tuple[Uploaded, ...]


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What a tenant stores; ``left`` is None where nothing limits the number of images."""

    stored: Storage
    left: int | None


def chat_id(jid: str) -> str:
    return "wac_" + hashlib.sha256(jid.encode()).hexdigest()[:26]


def reply_id(message_id: str) -> str:
    """The same for the same message: a message has one reply."""
    return "war_" + hashlib.sha256(message_id.encode()).hexdigest()[:32]


def sending(reply_id: str, chat_jid: str, text: str | None, now: datetime) -> WhatsAppMessage:
    """The event that has a reply sent: a message of our own."""
    return WhatsAppMessage(
        message_id=reply_id,
        chat_jid=chat_jid,
        from_me=True,
        message_type="text",
        content=text,
        timestamp=int(now.timestamp()),
    )


def text_of(reply: Reply, end: ImageEnd) -> str:
    """The answer to a chat about an image that has ended."""
    name = reply.file_name or end.image_id
    return searchable(name) if end.error is None else failed(name, end.error)


class Chats(Protocol):
    """Linked chats, rules and handled messages, of all tenants (platform database). Raises ``DatabaseUnavailable``."""

    def of_tenant(self, tenant_id: str) -> list[Chat]:
        """By JID."""

    def linked(self, jids: Sequence[str]) -> dict[str, Chat]:
        """Return chats by JID; unlinked ones are absent."""

    def link(self, chat: Chat) -> Chat:
        """Link it unless it is linked; returns the chat as it is then, which may be another tenant's."""

    def unlink(self, tenant_id: str, chat_id: str) -> bool:
        """With the replies that wait for it. False when the tenant has no such chat."""

    def rules(self, tenant_ids: Sequence[str]) -> list[Rule]:
        """In the order in which they are asked, tenant by tenant."""

    def save_rule(self, rule: Rule) -> None:
        """Create or replace it."""

    def remove_rule(self, tenant_id: str, rule_id: str) -> bool: ...

    def handled(self, message_ids: Sequence[str]) -> dict[str, Handled]:
        """Return the state of messages of any tenant; unknown ones are absent."""

    def record(self, handled: Handled, reply: Reply | None) -> bool:
        """Keep both or neither. False, and nothing changes, when the message was handled before."""

    def messages(self, tenant_id: str, limit: int) -> list[tuple[Handled, Reply | None]]:
        """Newest first."""

    def tally(self, tenant_id: str, chat_jid: str) -> ChatTally: ...

    def forget(self, before: datetime, limit: int) -> int:
        """Drop messages handled before then, with replies that have ended; returns how many messages."""


class Replies(Protocol):
    """Replies on their way, of all tenants (platform database). Raises ``DatabaseUnavailable``."""

    def end(self, ended: Sequence[ImageEnd], now: datetime) -> list[Reply]:
        """Give replies that await these images their texts; returns them with those that had theirs but are unsent."""

    def awaiting(self, reply_ids: Sequence[str]) -> list[Reply]:
        """Those whose images have not ended as far as is known."""

    def claim(self, reply_ids: Sequence[str], now: datetime, until: datetime) -> list[Reply]:
        """Those that wait to be sent and are due, of chats still linked to the reply's tenant.

        No other caller gets them before ``until``.
        """

    def settle(self, reply: Reply, verdict: Verdict, now: datetime) -> None:
        """Keep what became of a try."""

    def put_off(self, reply_ids: Sequence[str], next_at: datetime) -> None:
        """Let replies that have not ended be due then."""

    def overdue(self, now: datetime, limit: int) -> list[Reply]:
        """Due replies, the oldest first. One query over all tenants."""


class ChatCollection(Protocol):
    """The collection as chats use it: the same way in as the API's, under the same limits."""

    def largest_file(self, tenant: Tenant) -> int:
        """Bytes of the largest file that the tenant may send."""

    def ingest(self, tenant: Tenant, post: Post) -> Ingested:
        """Accept a picture; the same message is the same image.

        Raises
        ------
        InvalidImage
        ApiError
            A quota is used up.
        DependencyUnavailable
        """

    def ingest_video(self, tenant: Tenant, post: Post) -> Ingested:
        """The same of a video. Raises ``InvalidVideo`` in place of ``InvalidImage``."""

    def resume(self, tenant: Tenant, image_id: str) -> tuple[Uploaded, ...]:
        """The events of an accepted image, or video, that may not have got out."""

    def similar(self, tenant: Tenant, body: bytes, limit: int) -> list[Found]:
        """Best matches of a picture that is not kept. Raises ``InvalidImage``, ``DependencyUnavailable``."""

    def occupancy(self, tenant: Tenant) -> Occupancy: ...
