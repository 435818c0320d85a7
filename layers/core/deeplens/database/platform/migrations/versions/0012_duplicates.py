"""What tenants want done about duplicates, and when their merges settle."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "tenants", sa.Column("duplicates", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False)
    )
    op.create_table(
        "merge_deadlines",
        sa.Column("merge_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("due", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("merge_id", "tenant_id"),
    )
    op.create_index(op.f("ix_merge_deadlines_due"), "merge_deadlines", ["due"], unique=False)
    op.create_index(op.f("ix_merge_deadlines_tenant_id"), "merge_deadlines", ["tenant_id"], unique=False)


def downgrade() -> None:
    op.drop_table("merge_deadlines")
    op.drop_column("tenants", "duplicates")
