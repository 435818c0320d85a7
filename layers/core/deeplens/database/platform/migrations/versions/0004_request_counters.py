"""Requests per tenant and minute."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "request_counters",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("minute", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "minute"),
    )
    op.create_index(op.f("ix_request_counters_minute"), "request_counters", ["minute"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_request_counters_minute"), table_name="request_counters")
    op.drop_table("request_counters")
