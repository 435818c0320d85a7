"""Public keys of clients that authenticate with a private key, and the assertions that they have used."""

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE nextgen_identity.client_keys (
            client_id text PRIMARY KEY REFERENCES nextgen_identity.clients ON DELETE CASCADE,
            jwks jsonb,
            jwks_uri text
        )
    """)
    op.execute("""
        CREATE TABLE nextgen_identity.used_assertions (
            jti_sha256 bytea PRIMARY KEY,
            expires_at timestamptz NOT NULL
        )
    """)
    op.execute(
        "CREATE INDEX ix_nextgen_identity_used_assertions_expires_at ON nextgen_identity.used_assertions (expires_at)"
    )
