"""Tenants' webhooks and what was sent to them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def texts(*names: str, nullable: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def moments(*names: str, nullable: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, postgresql.TIMESTAMP(timezone=True), nullable=nullable) for name in names]


def upgrade() -> None:
    op.add_column(
        "tenants",
        sa.Column("notified", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
    )
    op.create_table(
        "webhooks",
        *texts("id", "tenant_id", "url"),
        sa.Column("events", postgresql.ARRAY(sa.Text()), nullable=False),
        *moments("created_at"),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        *texts("disabled_reason", nullable=True),
        sa.Column("secret_version", sa.Integer(), nullable=False),
        *moments("previous_until", "failing_since", nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        *moments("paused_until", nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_webhooks_tenant_id"), "webhooks", ["tenant_id"], unique=False)
    op.create_table(
        "webhook_deliveries",
        *texts("id", "webhook_id", "tenant_id", "event_id", "type", "body"),
        *moments("created_at", "next_at"),
        *texts("state"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_status", sa.Integer(), nullable=True),
        *texts("last_error", nullable=True),
        *moments("delivered_at", nullable=True),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("webhook_deliveries_newest", "webhook_deliveries", ["webhook_id", "created_at"], unique=False)
    waiting, ended = sa.text("state = 'waiting'"), sa.text("state <> 'waiting'")
    op.create_index(
        "webhook_deliveries_waiting", "webhook_deliveries", ["next_at"], unique=False, postgresql_where=waiting
    )
    op.create_index(
        "webhook_deliveries_ended", "webhook_deliveries", ["created_at"], unique=False, postgresql_where=ended
    )


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
    op.drop_column("tenants", "notified")
