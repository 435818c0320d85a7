"""What operators are told of: dead letters and broken runs, recorded by triggers in the transaction that keeps them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

OF_LETTERS = """
CREATE FUNCTION operator_alerts_of_letters() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
    INSERT INTO operator_alerts (id, kind, code, stage, tenant_id, raised_at, due)
    SELECT id, ''dead-letter'', error_code, stage, tenant_id, now(), now() FROM added
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END'
"""
OF_RUNS = """
CREATE FUNCTION operator_alerts_of_runs() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
    INSERT INTO operator_alerts (id, kind, code, stage, tenant_id, raised_at, due)
    VALUES (NEW.id, ''maintenance'', split_part(NEW.error, '':'', 1), NEW.type, NEW.tenant_id, now(), now())
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END'
"""
TRIGGERS = (
    "CREATE TRIGGER dead_letters_alert AFTER INSERT ON dead_letters REFERENCING NEW TABLE AS added "
    "FOR EACH STATEMENT EXECUTE FUNCTION operator_alerts_of_letters()",
    "CREATE TRIGGER maintenance_runs_alert AFTER UPDATE ON maintenance_runs FOR EACH ROW "
    "WHEN (OLD.error IS NULL AND NEW.error IS NOT NULL) EXECUTE FUNCTION operator_alerts_of_runs()",
)


def moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "operator_alerts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("tenant_id", sa.Text(), nullable=True),
        moment("raised_at"),
        moment("due"),
        moment("told_at", nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    untold = sa.text("told_at IS NULL")
    op.create_index("operator_alerts_untold", "operator_alerts", ["due"], unique=False, postgresql_where=untold)
    op.create_index("operator_alerts_raised", "operator_alerts", ["raised_at"], unique=False)
    for statement in (OF_LETTERS, OF_RUNS, *TRIGGERS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER maintenance_runs_alert ON maintenance_runs")
    op.execute("DROP TRIGGER dead_letters_alert ON dead_letters")
    op.execute("DROP FUNCTION operator_alerts_of_runs()")
    op.execute("DROP FUNCTION operator_alerts_of_letters()")
    op.drop_table("operator_alerts")
