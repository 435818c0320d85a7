"""New addresses of users that wait to be confirmed, and former ones that their owners can bring back."""

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE nextgen_identity.email_changes (
            user_id text PRIMARY KEY REFERENCES nextgen_identity.users ON DELETE CASCADE,
            email text NOT NULL,
            token_sha256 bytea UNIQUE,
            expires_at timestamptz NOT NULL
        )
    """)
    op.execute("""
        CREATE TABLE nextgen_identity.former_emails (
            user_id text NOT NULL REFERENCES nextgen_identity.users ON DELETE CASCADE,
            email text NOT NULL,
            token_sha256 bytea UNIQUE,
            changed_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            PRIMARY KEY (user_id, email)
        )
    """)
