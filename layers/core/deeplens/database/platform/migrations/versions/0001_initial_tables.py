"""The first tables."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA IF NOT EXISTS nextgen_identity")
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=True),
        sa.Column("image_id", sa.Text(), nullable=True),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failed_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("source", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("stored_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("dead_letters_code", "dead_letters", ["error_code", "stage"], unique=False)
    op.create_index("dead_letters_tenant", "dead_letters", ["tenant_id", "failed_at"], unique=False)
    op.create_table(
        "pending_images",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("image_id", sa.Text(), nullable=False),
        sa.Column("event", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("due", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "accepted_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("tenant_id", "image_id"),
    )
    op.create_index("pending_images_due", "pending_images", ["due"], unique=False, postgresql_where=sa.text("released"))
    op.create_index(
        "pending_images_in_flight", "pending_images", ["tenant_id"], unique=False, postgresql_where=sa.text("released")
    )
    op.create_index(
        "pending_images_waiting",
        "pending_images",
        ["tenant_id", "accepted_at"],
        unique=False,
        postgresql_where=sa.text("NOT released"),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="provisioning", nullable=False),
        sa.Column("database_server", sa.Text(), nullable=True),
        sa.Column("database_name", sa.Text(), nullable=False),
        sa.Column("storage_uri", sa.Text(), nullable=False),
        sa.Column("qdrant_url", sa.Text(), nullable=True),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("model_dimensions", sa.Integer(), nullable=False),
        sa.Column("schema_version", sa.Text(), nullable=True),
        sa.Column(
            "limits", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column(
            "settings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("database_name"),
        sa.UniqueConstraint("storage_uri"),
    )
    op.create_table(
        "usage_daily",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "day", "metric"),
    )
    op.create_table(
        "usage_events",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("occurred_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index(op.f("ix_usage_events_occurred_at"), "usage_events", ["occurred_at"], unique=False)
    op.create_table(
        "users",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("roles", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("failed_sign_ins", sa.Integer(), server_default="0", nullable=False),
        sa.Column("locked_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("email"),
        schema="nextgen_identity",
    )
    op.create_index(
        op.f("ix_nextgen_identity_users_tenant_id"), "users", ["tenant_id"], unique=False, schema="nextgen_identity"
    )
    op.create_table(
        "tenant_api_keys",
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("revoked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_used_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("prefix"),
    )
    op.create_index(op.f("ix_tenant_api_keys_tenant_id"), "tenant_api_keys", ["tenant_id"], unique=False)
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
        schema="nextgen_identity",
    )
    op.create_index(
        op.f("ix_nextgen_identity_refresh_tokens_family"),
        "refresh_tokens",
        ["family"],
        unique=False,
        schema="nextgen_identity",
    )
    op.create_index(
        op.f("ix_nextgen_identity_refresh_tokens_user_id"),
        "refresh_tokens",
        ["user_id"],
        unique=False,
        schema="nextgen_identity",
    )


def downgrade() -> None:
    op.drop_index(
        op.f("ix_nextgen_identity_refresh_tokens_user_id"), table_name="refresh_tokens", schema="nextgen_identity"
    )
    op.drop_index(
        op.f("ix_nextgen_identity_refresh_tokens_family"), table_name="refresh_tokens", schema="nextgen_identity"
    )
    op.drop_table("refresh_tokens", schema="nextgen_identity")
    op.drop_index(op.f("ix_tenant_api_keys_tenant_id"), table_name="tenant_api_keys")
    op.drop_table("tenant_api_keys")
    op.drop_index(op.f("ix_nextgen_identity_users_tenant_id"), table_name="users", schema="nextgen_identity")
    op.drop_table("users", schema="nextgen_identity")
    op.drop_index(op.f("ix_usage_events_occurred_at"), table_name="usage_events")
    op.drop_table("usage_events")
    op.drop_table("usage_daily")
    op.drop_table("tenants")
    op.drop_index("pending_images_waiting", table_name="pending_images", postgresql_where=sa.text("NOT released"))
    op.drop_index("pending_images_in_flight", table_name="pending_images", postgresql_where=sa.text("released"))
    op.drop_index("pending_images_due", table_name="pending_images", postgresql_where=sa.text("released"))
    op.drop_table("pending_images")
    op.drop_index("dead_letters_tenant", table_name="dead_letters")
    op.drop_index("dead_letters_code", table_name="dead_letters")
    op.drop_table("dead_letters")
    op.execute("DROP SCHEMA nextgen_identity")
