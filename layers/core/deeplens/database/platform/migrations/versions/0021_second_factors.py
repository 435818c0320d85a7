"""Second factors of users, sign-ins that miss one, and whether a tenant requires them."""

from alembic import op

revision = "0021"
down_revision = "0020"
USER = "user_id text NOT NULL REFERENCES nextgen_identity.users ON DELETE CASCADE"


def upgrade() -> None:
    op.execute(f"""
        CREATE TABLE nextgen_identity.authenticators (
            {USER} PRIMARY KEY,
            enrolment bytea NOT NULL,
            last_step bigint NOT NULL,
            created_at timestamptz NOT NULL
        )
    """)
    op.execute(f"""
        CREATE TABLE nextgen_identity.recovery_codes (
            code_sha256 bytea PRIMARY KEY,
            {USER},
            used_at timestamptz
        )
    """)
    op.execute(f"""
        CREATE TABLE nextgen_identity.passkeys (
            id bytea PRIMARY KEY,
            {USER},
            name text NOT NULL,
            public_key bytea NOT NULL,
            sign_count bigint NOT NULL,
            transports text[] NOT NULL,
            created_at timestamptz NOT NULL,
            last_used_at timestamptz
        )
    """)
    op.execute(f"""
        CREATE TABLE nextgen_identity.pending_sign_ins (
            secret_sha256 bytea PRIMARY KEY,
            {USER.replace(" NOT NULL", "")},
            methods text[] NOT NULL,
            goal text NOT NULL,
            challenge bytea,
            expires_at timestamptz NOT NULL
        )
    """)
    for table, column in (
        ("recovery_codes", "user_id"),
        ("passkeys", "user_id"),
        ("pending_sign_ins", "user_id"),
        ("pending_sign_ins", "expires_at"),
    ):
        op.execute(f"CREATE INDEX ix_nextgen_identity_{table}_{column} ON nextgen_identity.{table} ({column})")
    op.execute("ALTER TABLE tenants ADD COLUMN require_second_factor boolean NOT NULL DEFAULT false")
