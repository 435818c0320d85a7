"""Attempts to sign in are counted per address and network, and the audit log keeps the network address of a caller.

Only the release before reads ``users.failed_sign_ins`` and ``users.locked_until``; the next one drops them.
"""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE nextgen_identity.sign_in_attempts (
            key bytea PRIMARY KEY,
            attempts integer NOT NULL,
            max_attempts integer NOT NULL,
            ends_at timestamptz NOT NULL
        )
    """)
    op.execute(
        "CREATE INDEX ix_nextgen_identity_sign_in_attempts_ends_at ON nextgen_identity.sign_in_attempts (ends_at)"
    )
    op.execute("ALTER TABLE audit_log ADD COLUMN network_address text")
