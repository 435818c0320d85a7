"""Sessions know when and from where their browser last came."""

from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE nextgen_identity.sessions
            ADD COLUMN last_seen_at timestamptz NOT NULL DEFAULT now(),
            ADD COLUMN user_agent text NOT NULL DEFAULT '',
            ADD COLUMN network_address text NOT NULL DEFAULT ''
    """)
