"""What a tenant stores, in one row that triggers keep.

Triggers, so that code of the version before, which knows nothing of the totals, keeps them right as well.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The totals are locked before any image: whoever inserts or deletes images meets the others here first, so that
# two of them never hold an image each and wait for the other's.
LOCK = """
CREATE FUNCTION storage_totals_lock() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
    PERFORM FROM storage_totals FOR NO KEY UPDATE;
    RETURN NULL;
END'
"""
ADD = """
CREATE FUNCTION storage_totals_add() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
    UPDATE storage_totals SET images = storage_totals.images + change.images, bytes = storage_totals.bytes + change.bytes
    FROM (SELECT count(*) AS images, sum(size_bytes) AS bytes FROM changed) AS change WHERE change.images > 0;
    RETURN NULL;
END'
"""
SUBTRACT = """
CREATE FUNCTION storage_totals_subtract() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
    UPDATE storage_totals SET images = storage_totals.images - change.images, bytes = storage_totals.bytes - change.bytes
    FROM (SELECT count(*) AS images, sum(size_bytes) AS bytes FROM changed) AS change WHERE change.images > 0;
    RETURN NULL;
END'
"""
TRIGGERS = (
    "CREATE TRIGGER images_lock_totals BEFORE INSERT OR DELETE ON images "
    "FOR EACH STATEMENT EXECUTE FUNCTION storage_totals_lock()",
    "CREATE TRIGGER images_add_to_totals AFTER INSERT ON images REFERENCING NEW TABLE AS changed "
    "FOR EACH STATEMENT EXECUTE FUNCTION storage_totals_add()",
    "CREATE TRIGGER images_subtract_from_totals AFTER DELETE ON images REFERENCING OLD TABLE AS changed "
    "FOR EACH STATEMENT EXECUTE FUNCTION storage_totals_subtract()",
)


def upgrade() -> None:
    op.create_table(
        "storage_totals",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("one", name="storage_totals_one"),
        sa.PrimaryKeyConstraint("one"),
    )
    # Readers go on; no image is added or removed between the count and the triggers.
    op.execute("LOCK TABLE images IN SHARE ROW EXCLUSIVE MODE")
    op.execute(
        "INSERT INTO storage_totals (images, bytes) SELECT count(*), coalesce(sum(size_bytes), 0)::bigint FROM images"
    )
    for statement in (LOCK, ADD, SUBTRACT, *TRIGGERS):
        op.execute(statement)


def downgrade() -> None:
    for trigger in ("images_lock_totals", "images_add_to_totals", "images_subtract_from_totals"):
        op.execute(f"DROP TRIGGER {trigger} ON images")
    for function in ("storage_totals_lock", "storage_totals_add", "storage_totals_subtract"):
        op.execute(f"DROP FUNCTION {function}()")
    op.drop_table("storage_totals")
