"""Tenants' own identity providers, the domains that they have verified, and the accounts that are linked to them."""

from alembic import op

revision = "0020"
down_revision = "0019"

TABLES = (
    """
    CREATE TABLE nextgen_identity.identity_providers (
        tenant_id text PRIMARY KEY REFERENCES tenants ON DELETE CASCADE,
        issuer text NOT NULL,
        client_id text NOT NULL,
        email_claim text NOT NULL,
        name_claim text NOT NULL,
        roles_claim text,
        role_values jsonb NOT NULL,
        default_role text NOT NULL CHECK (default_role IN ('tenant_admin', 'editor', 'viewer')),
        federation_only boolean NOT NULL
    )
    """,
    """
    CREATE TABLE nextgen_identity.federated_domains (
        tenant_id text NOT NULL REFERENCES nextgen_identity.identity_providers ON DELETE CASCADE,
        domain text NOT NULL,
        challenge text NOT NULL,
        verified_at timestamptz,
        PRIMARY KEY (tenant_id, domain)
    )
    """,
    """
    CREATE UNIQUE INDEX uq_nextgen_identity_federated_domains_verified
        ON nextgen_identity.federated_domains (domain) WHERE verified_at IS NOT NULL
    """,
    """
    CREATE TABLE nextgen_identity.federated_sign_ins (
        state_sha256 bytea PRIMARY KEY,
        tenant_id text NOT NULL REFERENCES nextgen_identity.identity_providers ON DELETE CASCADE,
        browser_sha256 bytea NOT NULL,
        goal text NOT NULL,
        expires_at timestamptz NOT NULL
    )
    """,
    """
    CREATE INDEX ix_nextgen_identity_federated_sign_ins_expires_at
        ON nextgen_identity.federated_sign_ins (expires_at)
    """,
    """
    CREATE INDEX ix_nextgen_identity_federated_sign_ins_tenant_id
        ON nextgen_identity.federated_sign_ins (tenant_id)
    """,
    """
    CREATE TABLE nextgen_identity.federated_accounts (
        tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
        issuer text NOT NULL,
        subject text NOT NULL,
        user_id text NOT NULL REFERENCES nextgen_identity.users ON DELETE CASCADE,
        PRIMARY KEY (tenant_id, issuer, subject)
    )
    """,
    "CREATE INDEX ix_nextgen_identity_federated_accounts_user_id ON nextgen_identity.federated_accounts (user_id)",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
