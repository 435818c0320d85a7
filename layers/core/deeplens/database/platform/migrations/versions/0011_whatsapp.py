"""Chats of WhatsApp, tenants' rules for their messages, and replies on their way."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def of_tenant() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE")


def texts(*names: str, nullable: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def lists(*names: str, nullable: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, postgresql.ARRAY(sa.Text()), nullable=nullable) for name in names]


def moments(*names: str, nullable: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, postgresql.TIMESTAMP(timezone=True), nullable=nullable) for name in names]


def upgrade() -> None:
    op.add_column("tenants", sa.Column("chats", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_table(
        "whatsapp_chats",
        *texts("id", "jid", "tenant_id", "name"),
        *moments("linked_at"),
        of_tenant(),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("jid"),
    )
    op.create_index(op.f("ix_whatsapp_chats_tenant_id"), "whatsapp_chats", ["tenant_id"], unique=False)
    op.create_table(
        "whatsapp_rules",
        *texts("id", "tenant_id"),
        sa.Column("position", sa.Integer(), nullable=False),
        *lists("actions"),
        *lists("types", "senders", "groups", nullable=True),
        sa.Column("in_group", sa.Boolean(), nullable=True),
        *texts("text", nullable=True),
        *lists("tags"),
        of_tenant(),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_whatsapp_rules_tenant_id"), "whatsapp_rules", ["tenant_id"], unique=False)
    op.create_table(
        "whatsapp_messages",
        *texts("message_id", "tenant_id", "chat_jid", "type", "outcome"),
        *moments("received_at"),
        *texts("reason", "code", "rule_id", "image_id", nullable=True),
        sa.Column("forwarded", sa.Boolean(), nullable=False),
        of_tenant(),
        sa.PrimaryKeyConstraint("message_id"),
    )
    op.create_index("whatsapp_messages_newest", "whatsapp_messages", ["tenant_id", "received_at"], unique=False)
    op.create_index("whatsapp_messages_oldest", "whatsapp_messages", ["received_at"], unique=False)
    create_replies()


def create_replies() -> None:
    op.create_table(
        "whatsapp_replies",
        *texts("id", "tenant_id", "chat_jid", "message_id", "phone_number_id"),
        *moments("created_at", "next_at"),
        *texts("state"),
        *texts("text", "image_id", "file_name", nullable=True),
        sa.Column("failed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        *texts("last_error", nullable=True),
        *moments("sent_at", nullable=True),
        of_tenant(),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("message_id"),
    )
    unsent = sa.text("state IN ('awaiting', 'waiting')")
    op.create_index("whatsapp_replies_due", "whatsapp_replies", ["next_at"], unique=False, postgresql_where=unsent)
    op.create_index(
        "whatsapp_replies_image", "whatsapp_replies", ["tenant_id", "image_id"], unique=False, postgresql_where=unsent
    )
    op.create_index("whatsapp_replies_chat", "whatsapp_replies", ["tenant_id", "chat_jid"], unique=False)


def downgrade() -> None:
    for table in ("whatsapp_replies", "whatsapp_messages", "whatsapp_rules", "whatsapp_chats"):
        op.drop_table(table)
    op.drop_column("tenants", "chats")
