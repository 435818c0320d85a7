"""Clients of tenants ask for consent: until now their administrators could waive it, which is an operator's decision."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.execute("UPDATE nextgen_identity.clients SET needs_consent = true WHERE tenant_id IS NOT NULL")
