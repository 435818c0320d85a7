"""Duplicates of a tenant's images: pHashes, pairs, groups, merges and the ids that merged images go on answering to."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Members go with their images, by the foreign key; nobody else would tell their group.
SHRINK = """
CREATE FUNCTION duplicate_groups_shrink() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
    UPDATE duplicate_groups g SET size = g.size - gone.members
    FROM (SELECT group_id, count(*) AS members FROM changed GROUP BY group_id ORDER BY group_id) AS gone
    WHERE g.id = gone.group_id;
    RETURN NULL;
END'
"""
TRIGGER = (
    "CREATE TRIGGER duplicate_members_shrink AFTER DELETE ON duplicate_members REFERENCING OLD TABLE AS changed "
    "FOR EACH STATEMENT EXECUTE FUNCTION duplicate_groups_shrink()"
)


def texts(*names: str, nullable: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def moments(*names: str, nullable: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, postgresql.TIMESTAMP(timezone=True), nullable=nullable) for name in names]


def of_images(*names: str) -> list[sa.ForeignKeyConstraint]:
    return [sa.ForeignKeyConstraint([name], ["images.id"], ondelete="CASCADE") for name in names]


def index(table: str, *columns: str) -> None:
    for column in columns:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column], unique=False)


def upgrade() -> None:
    op.add_column("deleted_images", sa.Column("merged_into", sa.Text(), nullable=True))
    op.create_table(
        "image_hashes",
        *texts("image_id"),
        sa.Column("phash", sa.BigInteger(), nullable=False),
        *of_images("image_id"),
        sa.PrimaryKeyConstraint("image_id"),
    )
    op.create_table(
        "duplicate_groups",
        *texts("id"),
        *moments("created_at"),
        sa.Column("size", sa.Integer(), server_default="0", nullable=False),
        *texts("into_id", nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    shown = sa.text("size > 1")
    op.create_index(
        "duplicate_groups_newest", "duplicate_groups", ["created_at", "id"], unique=False, postgresql_where=shown
    )
    op.create_table(
        "duplicate_members",
        *texts("image_id", "group_id"),
        *of_images("image_id"),
        sa.ForeignKeyConstraint(["group_id"], ["duplicate_groups.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("image_id"),
    )
    index("duplicate_members", "group_id")
    op.create_table(
        "duplicate_pairs",
        *texts("id", "first_id", "second_id"),
        *texts("verdict", nullable=True),
        sa.Column("evidence", postgresql.JSONB(), nullable=False),
        *texts("model"),
        *moments("found_at"),
        *moments("recorded_at", nullable=True),
        *texts("decision", nullable=True),
        *moments("decided_at", nullable=True),
        *texts("decided_by", nullable=True),
        *of_images("first_id", "second_id"),
        sa.PrimaryKeyConstraint("id"),
    )
    index("duplicate_pairs", "first_id", "second_id")
    op.create_table(
        "merges",
        *texts("id"),
        *texts("group_id", nullable=True),
        *texts("kept_id"),
        sa.Column("merged_ids", postgresql.ARRAY(sa.Text()), nullable=False),
        *moments("merged_at", "undo_until"),
        *texts("by", "state"),
        *texts("pair_id", nullable=True),
        sa.Column("before", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    index("merges", "kept_id", "pair_id")
    op.create_index("merges_newest", "merges", ["merged_at", "id"], unique=False)
    op.execute(SHRINK)
    op.execute(TRIGGER)


def downgrade() -> None:
    op.drop_table("merges")
    op.drop_table("duplicate_pairs")
    op.drop_table("duplicate_members")
    op.drop_table("duplicate_groups")
    op.execute("DROP FUNCTION duplicate_groups_shrink()")
    op.drop_table("image_hashes")
    op.drop_column("deleted_images", "merged_into")
