"""Tables of WhatsApp's chats in the platform database."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from deeplens.database.platform.tables import Base


class WhatsAppChatRow(Base):
    """A chat and the one tenant that it belongs to; ``tenants.chats`` is kept in the same transaction."""

    __tablename__ = "whatsapp_chats"

    id: Mapped[str] = mapped_column(primary_key=True)
    jid: Mapped[str] = mapped_column(unique=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    linked_at: Mapped[datetime]


class WhatsAppRuleRow(Base):
    """What is done with messages that fit; a column that is null fits all."""

    __tablename__ = "whatsapp_rules"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    actions: Mapped[list[str]]
    types: Mapped[list[str] | None]
    senders: Mapped[list[str] | None]
    groups: Mapped[list[str] | None]
    in_group: Mapped[bool | None]
    text: Mapped[str | None]
    tags: Mapped[list[str]]


class WhatsAppMessageRow(Base):
    """What became of a message. Its id is WhatsApp's, so that a message has one effect whoever's its chat is."""

    __tablename__ = "whatsapp_messages"

    message_id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    chat_jid: Mapped[str]
    type: Mapped[str]
    outcome: Mapped[str]
    received_at: Mapped[datetime]
    reason: Mapped[str | None]
    code: Mapped[str | None]
    rule_id: Mapped[str | None]
    image_id: Mapped[str | None]
    forwarded: Mapped[bool]

    __table_args__ = (
        Index("whatsapp_messages_newest", "tenant_id", "received_at"),
        Index("whatsapp_messages_oldest", "received_at"),
    )


class WhatsAppReplyRow(Base):
    """A text for a chat. ``awaiting`` the end of its image it has none yet; ``failed`` says how the image ended."""

    __tablename__ = "whatsapp_replies"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    chat_jid: Mapped[str]
    message_id: Mapped[str] = mapped_column(unique=True)
    phone_number_id: Mapped[str]
    created_at: Mapped[datetime]
    next_at: Mapped[datetime]
    state: Mapped[str]
    text: Mapped[str | None]
    image_id: Mapped[str | None]
    file_name: Mapped[str | None]
    failed: Mapped[bool] = mapped_column(server_default=sa.text("false"))
    attempts: Mapped[int]
    last_error: Mapped[str | None]
    sent_at: Mapped[datetime | None]

    __table_args__ = (
        Index("whatsapp_replies_due", "next_at", postgresql_where=sa.text("state IN ('awaiting', 'waiting')")),
        Index(
            "whatsapp_replies_image",
            "tenant_id",
            "image_id",
            postgresql_where=sa.text("state IN ('awaiting', 'waiting')"),
        ),
        Index("whatsapp_replies_chat", "tenant_id", "chat_jid"),
    )
