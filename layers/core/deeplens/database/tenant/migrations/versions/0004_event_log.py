"""When a line of a timeline was written, so that all of them can be read in one order."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # A default that is the same for all rows rewrites none; their order stays that of their ids.
    op.add_column(
        "image_events",
        sa.Column("recorded_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.alter_column("image_events", "recorded_at", server_default=sa.text("clock_timestamp()"))
    op.create_index("image_events_newest", "image_events", ["recorded_at", "id"], unique=False)
    op.create_index("image_events_stage", "image_events", ["stage", "recorded_at", "id"], unique=False)
    op.create_index("image_events_step", "image_events", ["step", "recorded_at", "id"], unique=False)
    op.create_index(
        "image_events_errors",
        "image_events",
        ["recorded_at", "id"],
        unique=False,
        postgresql_where=sa.text("error_code IS NOT NULL"),
    )


def downgrade() -> None:
    for name in ("errors", "step", "stage", "newest"):
        op.drop_index(f"image_events_{name}", table_name="image_events")
    op.drop_column("image_events", "recorded_at")
