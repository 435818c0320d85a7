"""OAuth clients, codes, token families, sessions, consents and signing keys; tenants' progress; the audit log.

Nothing was ever written to the first ``refresh_tokens``, so it is replaced.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
SCHEMA = "nextgen_identity"


APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    op.add_column(
        "tenants",
        sa.Column(
            "progress", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
    )
    op.add_column(
        "tenants",
        sa.Column("status_since", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.create_index(
        "tenants_unsettled",
        "tenants",
        ["status_since"],
        unique=False,
        postgresql_where=sa.text("status IN ('provisioning', 'deleting')"),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=True),
        sa.Column("actor_tenant_id", sa.Text(), nullable=True),
        sa.Column("tenant_id", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("audit_log_tenant", "audit_log", ["tenant_id", "id"], unique=False)
    op.execute(APPEND_ONLY)
    op.drop_table("refresh_tokens", schema=SCHEMA)
    op.add_column("users", sa.Column("name", sa.Text(), server_default="", nullable=False), schema=SCHEMA)
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("public_jwk", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("signs_from", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("lost_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("kid"),
        schema=SCHEMA,
    )
    op.create_table(
        "clients",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("redirect_uris", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("post_logout_redirect_uris", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("grants", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("needs_consent", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        schema=SCHEMA,
    )
    op.create_index(
        op.f("ix_nextgen_identity_clients_tenant_id"), "clients", ["tenant_id"], unique=False, schema=SCHEMA
    )
    op.create_table(
        "authorization_codes",
        sa.Column("code_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=True),
        sa.Column("code_challenge", sa.Text(), nullable=False),
        sa.Column("authenticated_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("used_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["client_id"], ["nextgen_identity.clients.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["nextgen_identity.users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("code_sha256"),
        schema=SCHEMA,
    )
    op.create_index(
        op.f("ix_nextgen_identity_authorization_codes_client_id"),
        "authorization_codes",
        ["client_id"],
        unique=False,
        schema=SCHEMA,
    )
    op.create_index(
        op.f("ix_nextgen_identity_authorization_codes_expires_at"),
        "authorization_codes",
        ["expires_at"],
        unique=False,
        schema=SCHEMA,
    )
    op.create_index(
        op.f("ix_nextgen_identity_authorization_codes_user_id"),
        "authorization_codes",
        ["user_id"],
        unique=False,
        schema=SCHEMA,
    )
    op.create_table(
        "consents",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("granted_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["nextgen_identity.clients.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["nextgen_identity.users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "client_id"),
        schema=SCHEMA,
    )
    op.create_table(
        "sessions",
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("authenticated_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["nextgen_identity.users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("secret_sha256"),
        sa.UniqueConstraint("id"),
        schema=SCHEMA,
    )
    op.create_index(
        op.f("ix_nextgen_identity_sessions_expires_at"), "sessions", ["expires_at"], unique=False, schema=SCHEMA
    )
    op.create_index(op.f("ix_nextgen_identity_sessions_user_id"), "sessions", ["user_id"], unique=False, schema=SCHEMA)
    op.create_table(
        "token_families",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("authenticated_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("revoked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["client_id"], ["nextgen_identity.clients.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["nextgen_identity.users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        schema=SCHEMA,
    )
    op.create_index(
        op.f("ix_nextgen_identity_token_families_client_id"),
        "token_families",
        ["client_id"],
        unique=False,
        schema=SCHEMA,
    )
    op.create_index(
        op.f("ix_nextgen_identity_token_families_expires_at"),
        "token_families",
        ["expires_at"],
        unique=False,
        schema=SCHEMA,
    )
    op.create_index(
        op.f("ix_nextgen_identity_token_families_user_id"), "token_families", ["user_id"], unique=False, schema=SCHEMA
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("issued_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("spent_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["family"], ["nextgen_identity.token_families.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_sha256"),
        schema=SCHEMA,
    )
    op.create_index(
        op.f("ix_nextgen_identity_refresh_tokens_family"), "refresh_tokens", ["family"], unique=False, schema=SCHEMA
    )


def downgrade() -> None:
    op.drop_table("audit_log")
    op.execute("DROP FUNCTION refuse_change()")
    op.drop_index("tenants_unsettled", table_name="tenants")
    op.drop_column("tenants", "status_since")
    op.drop_column("tenants", "progress")
    for table in (
        "refresh_tokens",
        "token_families",
        "sessions",
        "consents",
        "authorization_codes",
        "clients",
        "signing_keys",
    ):
        op.drop_table(table, schema=SCHEMA)
    op.drop_column("users", "name", schema=SCHEMA)
    op.create_table(
        "refresh_tokens",
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("issued_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("spent_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("revoked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["nextgen_identity.users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_sha256"),
        schema=SCHEMA,
    )
    for column in ("family", "user_id"):
        op.create_index(op.f(f"ix_nextgen_identity_refresh_tokens_{column}"), "refresh_tokens", [column], schema=SCHEMA)
