"""Codes and token families may be for some of the APIs only; those from before are for all."""

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    for table in ("authorization_codes", "token_families"):
        op.execute(f"ALTER TABLE nextgen_identity.{table} ADD COLUMN resources text[] NOT NULL DEFAULT '{{}}'")
