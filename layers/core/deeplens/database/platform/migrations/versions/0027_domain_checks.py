"""When the TXT record of a verified domain was last looked for, and since when it is missing."""

from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE nextgen_identity.federated_domains "
        "ADD COLUMN checked_at timestamptz, ADD COLUMN missing_since timestamptz"
    )
