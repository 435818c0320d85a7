"""Starts of an image's preprocessing are counted, as those of videos are."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("ALTER TABLE images ADD COLUMN starts integer NOT NULL DEFAULT 0")
