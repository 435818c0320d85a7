"""State per image and model."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "image_models",
        sa.Column("image_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("step", sa.SmallInteger(), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("image_id", "model", "model_version"),
    )
    op.create_index(
        "image_models_open",
        "image_models",
        ["model", "model_version", "step", "image_id"],
        unique=False,
        postgresql_where=sa.text("step < 3"),
    )
    op.execute(
        "INSERT INTO image_models (image_id, model, model_version, generation, step) "
        "SELECT id, model, coalesce(model_version, ''), generation, 3 FROM images WHERE model IS NOT NULL AND step IN (3, 5)"
    )
