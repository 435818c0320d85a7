"""Models, their roll-outs, and operators' keys."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "models",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("thresholds", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("text", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("name", "version"),
    )
    op.create_table(
        "model_rollouts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("source_name", sa.Text(), nullable=False),
        sa.Column("source_version", sa.Text(), nullable=False),
        sa.Column("source_dimensions", sa.Integer(), nullable=False),
        sa.Column("target_name", sa.Text(), nullable=False),
        sa.Column("target_version", sa.Text(), nullable=False),
        sa.Column("target_dimensions", sa.Integer(), nullable=False),
        sa.Column("dual_since", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("cut_over_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("dropped_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("model_rollouts_tenant", "model_rollouts", ["tenant_id", "created_at"], unique=False)
    op.create_index(
        "model_rollouts_live",
        "model_rollouts",
        ["tenant_id"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "model_rollouts_unfinished",
        "model_rollouts",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("dropped_at IS NULL"),
    )
    op.add_column("tenants", sa.Column("target_name", sa.Text(), nullable=True))
    op.add_column("tenants", sa.Column("target_version", sa.Text(), nullable=True))
    op.add_column("tenants", sa.Column("target_dimensions", sa.Integer(), nullable=True))
    op.alter_column("tenant_api_keys", "tenant_id", existing_type=sa.Text(), nullable=True)
