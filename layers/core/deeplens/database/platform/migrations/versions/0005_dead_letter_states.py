"""What became of dead letters."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("dead_letters", sa.Column("state", sa.Text(), server_default="open", nullable=False))
    op.add_column("dead_letters", sa.Column("replays", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("dead_letters", sa.Column("settled_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("dead_letters", sa.Column("reason", sa.Text(), nullable=True))
    op.create_index("dead_letters_newest", "dead_letters", ["failed_at", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("dead_letters_newest", table_name="dead_letters")
    for column in ("reason", "settled_at", "replays", "state"):
        op.drop_column("dead_letters", column)
