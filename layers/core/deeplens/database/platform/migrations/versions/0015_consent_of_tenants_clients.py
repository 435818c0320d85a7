"""Clients of tenants ask for consent: until now their administrators could waive it, which is an operator's decision."""

from collections.abc import Sequence

from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("UPDATE nextgen_identity.clients SET needs_consent = true WHERE tenant_id IS NOT NULL")


def downgrade() -> None:
    """Keep the consent: who had waived it is not known."""
