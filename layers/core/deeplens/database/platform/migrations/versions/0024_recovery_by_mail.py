"""Mails that wait to be sent, tokens of password resets, and invitations."""

from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE nextgen_identity.invitations (
            id text PRIMARY KEY,
            tenant_id text REFERENCES tenants ON DELETE CASCADE,
            email text NOT NULL,
            name text NOT NULL,
            roles text[] NOT NULL,
            language text NOT NULL,
            token_sha256 bytea UNIQUE,
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL
        )
    """)
    op.execute(
        "CREATE UNIQUE INDEX ux_nextgen_identity_invitations_owner ON nextgen_identity.invitations "
        "(coalesce(tenant_id, ''), email)"
    )
    op.execute("""
        CREATE TABLE nextgen_identity.password_resets (
            user_id text PRIMARY KEY REFERENCES nextgen_identity.users ON DELETE CASCADE,
            email text NOT NULL,
            token_sha256 bytea NOT NULL UNIQUE,
            expires_at timestamptz NOT NULL
        )
    """)
    op.execute("""
        CREATE TABLE nextgen_identity.outgoing_mail (
            id text PRIMARY KEY,
            kind text NOT NULL,
            recipient text NOT NULL,
            language text NOT NULL,
            user_id text REFERENCES nextgen_identity.users ON DELETE CASCADE,
            invitation_id text REFERENCES nextgen_identity.invitations ON DELETE CASCADE,
            change text,
            attempts integer NOT NULL DEFAULT 0,
            created_at timestamptz NOT NULL,
            due timestamptz NOT NULL,
            expires_at timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX ix_nextgen_identity_outgoing_mail_due ON nextgen_identity.outgoing_mail (due)")
    op.execute("CREATE INDEX ix_nextgen_identity_outgoing_mail_user_id ON nextgen_identity.outgoing_mail (user_id)")
    op.execute(
        "CREATE INDEX ix_nextgen_identity_outgoing_mail_invitation_id ON nextgen_identity.outgoing_mail (invitation_id)"
    )
