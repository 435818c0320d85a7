"""Accepted videos that are not split into frames yet, and tenants' settings for theirs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "pending_videos",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("video_id", sa.Text(), nullable=False),
        sa.Column("event", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("due", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "video_id"),
    )
    op.create_index("pending_videos_due", "pending_videos", ["due"], unique=False)
    op.add_column(
        "tenants",
        sa.Column(
            "video", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
    )


def downgrade() -> None:
    op.drop_column("tenants", "video")
    op.drop_index("pending_videos_due", table_name="pending_videos")
    op.drop_table("pending_videos")
