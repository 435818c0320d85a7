"""A signing key that is compromised is marked as revoked until its private half is deleted."""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.execute("ALTER TABLE nextgen_identity.signing_keys ADD COLUMN revoked_at timestamptz")
