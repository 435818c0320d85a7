"""Runs of maintenance, and which tenants have changed since their last sweep.

A trigger notes the changes, so that code of the version before does as well.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# A tenant's first image makes the row, and the first sweep comes when there is something old enough for it.
# Ten minutes: a row that every upload locked would line up the uploads of a tenant.
NOTE = """
CREATE FUNCTION tenant_sweeps_note() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
    INSERT INTO tenant_sweeps AS known (tenant_id, changed_at, swept_at, due)
    SELECT DISTINCT added.tenant_id, now(), now(), true FROM added
    WHERE NOT EXISTS (
        SELECT FROM tenant_sweeps s
        WHERE s.tenant_id = added.tenant_id AND s.due AND s.changed_at > now() - make_interval(mins => 10))
    ORDER BY 1
    ON CONFLICT (tenant_id) DO UPDATE SET changed_at = greatest(known.changed_at, excluded.changed_at), due = true;
    RETURN NULL;
END'
"""
TRIGGER = (
    "CREATE TRIGGER pending_images_note_change AFTER INSERT ON pending_images REFERENCING NEW TABLE AS added "
    "FOR EACH STATEMENT EXECUTE FUNCTION tenant_sweeps_note()"
)


def moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "tenant_sweeps",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        moment("changed_at"),
        moment("swept_at"),
        sa.Column("due", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id"),
    )
    op.create_index("tenant_sweeps_due", "tenant_sweeps", ["swept_at"], unique=False, postgresql_where=sa.text("due"))
    op.create_table(
        "maintenance_runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        moment("created_at"),
        moment("due"),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("slices", sa.Integer(), nullable=False),
        sa.Column("report", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        moment("ended_at", nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    live = sa.text("ended_at IS NULL")
    op.create_index("maintenance_runs_tenant", "maintenance_runs", ["tenant_id", "created_at"], unique=False)
    op.create_index("maintenance_runs_newest", "maintenance_runs", ["created_at"], unique=False)
    op.create_index(
        "maintenance_runs_live", "maintenance_runs", ["tenant_id", "type"], unique=True, postgresql_where=live
    )
    op.create_index("maintenance_runs_due", "maintenance_runs", ["due"], unique=False, postgresql_where=live)
    op.execute(NOTE)
    op.execute(TRIGGER)
    op.execute(
        "INSERT INTO tenant_sweeps (tenant_id, changed_at, swept_at, due) "
        "SELECT id, now(), now(), true FROM tenants WHERE status IN ('active', 'suspended')"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER pending_images_note_change ON pending_images")
    op.execute("DROP FUNCTION tenant_sweeps_note()")
    op.drop_table("maintenance_runs")
    op.drop_table("tenant_sweeps")
