"""Sessions, codes and token families say how their user signed in; those from before did so with the password."""

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    for table in ("sessions", "authorization_codes", "token_families"):
        op.execute(f"ALTER TABLE nextgen_identity.{table} ADD COLUMN methods text[] NOT NULL DEFAULT '{{pwd}}'")
