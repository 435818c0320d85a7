"""The schema of a tenant database, which later migrations start from."""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text())
