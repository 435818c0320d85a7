"""What requests turned out to be, gauges per day, and budgets of what is used."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def texts(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), nullable=nullable)


def upgrade() -> None:
    for name in ("searches", "egress_bytes"):
        op.add_column("request_counters", sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.create_table(
        "usage_outbox",
        *texts("event_id", "tenant_id"),
        moment("occurred_at"),
        sa.Column("quantities", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        moment("due"),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index(op.f("ix_usage_outbox_tenant_id"), "usage_outbox", ["tenant_id"], unique=False)
    op.create_index(op.f("ix_usage_outbox_due"), "usage_outbox", ["due"], unique=False)
    op.add_column("usage_daily", moment("level_at", nullable=True))
    op.create_index("usage_daily_metric", "usage_daily", ["tenant_id", "metric", "day"], unique=False)
    op.create_index(
        "usage_daily_levels", "usage_daily", ["day"], unique=False, postgresql_where=sa.text("level_at IS NOT NULL")
    )
    op.create_table(
        "usage_days",
        sa.Column("day", sa.Date(), nullable=False),
        moment("begun_at"),
        sa.PrimaryKeyConstraint("day"),
    )
    op.add_column("tenant_sweeps", moment("measured_at", nullable=True))
    op.create_index(
        "tenant_sweeps_unmeasured",
        "tenant_sweeps",
        ["changed_at"],
        unique=False,
        postgresql_where=sa.text("measured_at IS NULL OR measured_at < changed_at"),
    )
    make_budgets()


def make_budgets() -> None:
    op.add_column("tenants", sa.Column("ingestion_paused", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_table(
        "usage_budgets",
        *texts("tenant_id", "metric"),
        sa.Column("monthly_limit", sa.Numeric(), nullable=False),
        sa.Column("warn_percent", postgresql.ARRAY(sa.Integer()), nullable=False),
        *texts("action"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "metric"),
    )
    op.create_table(
        "usage_budget_warnings",
        *texts("tenant_id", "metric"),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        moment("reached_at"),
        sa.Column("used", sa.Numeric(), nullable=False),
        sa.Column("monthly_limit", sa.Numeric(), nullable=False),
        *texts("action"),
        moment("told_at", nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "metric", "month", "percent"),
    )
    op.create_index(
        "usage_budget_warnings_untold",
        "usage_budget_warnings",
        ["reached_at"],
        unique=False,
        postgresql_where=sa.text("told_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("usage_budget_warnings")
    op.drop_table("usage_budgets")
    op.drop_column("tenants", "ingestion_paused")
    op.drop_index("tenant_sweeps_unmeasured", table_name="tenant_sweeps")
    op.drop_column("tenant_sweeps", "measured_at")
    op.drop_table("usage_days")
    op.drop_index("usage_daily_levels", table_name="usage_daily")
    op.drop_index("usage_daily_metric", table_name="usage_daily")
    op.drop_column("usage_daily", "level_at")
    op.drop_table("usage_outbox")
    for name in ("searches", "egress_bytes"):
        op.drop_column("request_counters", name)
