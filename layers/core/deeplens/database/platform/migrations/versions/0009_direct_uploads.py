"""Uploads that clients write to their tenants' stores by themselves."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "direct_uploads",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("part_bytes", sa.BigInteger(), nullable=True),
        sa.Column("multipart_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        moment("created_at"),
        moment("expires_at"),
        moment("due"),
        moment("claimed_until", nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_retryable", sa.Boolean(), nullable=True),
        moment("ended_at", nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "id"),
    )
    is_open, ended = sa.text("status = 'open'"), sa.text("status <> 'open'")
    op.create_index("direct_uploads_due", "direct_uploads", ["due"], unique=False, postgresql_where=is_open)
    op.create_index("direct_uploads_open", "direct_uploads", ["tenant_id"], unique=False, postgresql_where=is_open)
    op.create_index("direct_uploads_ended", "direct_uploads", ["ended_at"], unique=False, postgresql_where=ended)


def downgrade() -> None:
    op.drop_table("direct_uploads")
