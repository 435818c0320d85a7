"""Videos, their segments and tombstones; images that are frames.

What a video's frames add up to is kept by triggers: a frame ends in many places, and each has to look whether it was
the last one, in its own transaction.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The lock comes first: of two transactions with a video's last two frames, the second sees what the first has done.
SETTLE = """
CREATE FUNCTION videos_settle(ids text[]) RETURNS void LANGUAGE plpgsql AS '
BEGIN
    PERFORM FROM videos WHERE id = ANY(ids) ORDER BY id FOR NO KEY UPDATE;
    UPDATE videos v SET
        frames = f.frames, frames_completed = f.completed, frames_failed = f.failed, updated_at = now(),
        status = CASE WHEN NOT f.ended THEN v.status WHEN f.broken THEN ''failed'' ELSE ''completed'' END,
        completed_at = CASE WHEN f.ended AND NOT f.broken THEN coalesce(v.completed_at, now()) ELSE v.completed_at END,
        error_code = CASE WHEN NOT f.ended THEN v.error_code WHEN f.broken THEN ''VIDEO_FRAMES_FAILED'' END,
        error_message = CASE WHEN NOT f.ended THEN v.error_message
            WHEN f.broken THEN f.failed || '' of '' || f.frames || '' frames failed'' END,
        error_retryable = CASE WHEN NOT f.ended THEN v.error_retryable WHEN f.broken THEN false END
    FROM (
        SELECT c.*, c.failed * 5 > c.frames AS broken,
               c.completed + c.failed = c.frames AND s.planned AND (c.error IS NULL OR c.error = ''VIDEO_FRAMES_FAILED'') AS ended
        FROM (
            SELECT w.id, w.error_code AS error, count(DISTINCT i.id) AS frames,
                   count(DISTINCT i.id) FILTER (WHERE i.step = 5) AS completed,
                   count(DISTINCT i.id) FILTER (WHERE i.step = 4) AS failed
            FROM videos w LEFT JOIN images i ON i.video_id = w.id
                 AND NOT EXISTS (SELECT FROM deleted_images d WHERE d.image_id = i.id)
            WHERE w.id = ANY(ids) GROUP BY w.id
        ) c CROSS JOIN LATERAL (
            SELECT count(*) > 0 AND bool_and(done) AS planned FROM video_segments WHERE video_id = c.id
        ) s
    ) f WHERE v.id = f.id;
END'
"""
ON_IMAGES = """
CREATE FUNCTION videos_frames_ended() RETURNS trigger LANGUAGE plpgsql AS '
DECLARE ids text[];
BEGIN
    SELECT array_agg(DISTINCT video_id) INTO ids FROM changed WHERE video_id IS NOT NULL AND step IN (4, 5);
    IF ids IS NOT NULL THEN PERFORM videos_settle(ids); END IF;
    RETURN NULL;
END'
"""
ON_TOMBSTONES = """
CREATE FUNCTION videos_frames_buried() RETURNS trigger LANGUAGE plpgsql AS '
DECLARE ids text[];
BEGIN
    SELECT array_agg(DISTINCT i.video_id) INTO ids FROM changed JOIN images i ON i.id = changed.image_id
    WHERE i.video_id IS NOT NULL;
    IF ids IS NOT NULL THEN PERFORM videos_settle(ids); END IF;
    RETURN NULL;
END'
"""
ON_SEGMENTS = """
CREATE FUNCTION videos_segments_done() RETURNS trigger LANGUAGE plpgsql AS '
DECLARE ids text[];
BEGIN
    SELECT array_agg(DISTINCT video_id) INTO ids FROM changed WHERE done;
    IF ids IS NOT NULL THEN PERFORM videos_settle(ids); END IF;
    RETURN NULL;
END'
"""
# Videos count towards the stored bytes, their frames as images.
ADD_BYTES = """
CREATE FUNCTION storage_totals_add_video() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
    UPDATE storage_totals SET bytes = bytes + NEW.size_bytes;
    RETURN NULL;
END'
"""
SUBTRACT_BYTES = """
CREATE FUNCTION storage_totals_subtract_video() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
    UPDATE storage_totals SET bytes = bytes - OLD.size_bytes;
    RETURN NULL;
END'
"""
TRIGGERS = {
    "images_settle_videos": "AFTER UPDATE ON images REFERENCING NEW TABLE AS changed "
    "FOR EACH STATEMENT EXECUTE FUNCTION videos_frames_ended()",
    "deleted_images_settle_videos": "AFTER INSERT ON deleted_images REFERENCING NEW TABLE AS changed "
    "FOR EACH STATEMENT EXECUTE FUNCTION videos_frames_buried()",
    "video_segments_settle_videos": "AFTER UPDATE ON video_segments REFERENCING NEW TABLE AS changed "
    "FOR EACH STATEMENT EXECUTE FUNCTION videos_segments_done()",
    "videos_add_to_totals": "AFTER INSERT ON videos FOR EACH ROW EXECUTE FUNCTION storage_totals_add_video()",
    "videos_subtract_from_totals": "AFTER DELETE ON videos FOR EACH ROW EXECUTE FUNCTION storage_totals_subtract_video()",
}
FUNCTIONS = (
    "videos_frames_ended()",
    "videos_frames_buried()",
    "videos_segments_done()",
    "storage_totals_add_video()",
    "storage_totals_subtract_video()",
    "videos_settle(text[])",
)


def upgrade() -> None:
    op.create_table(
        "videos",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("storage_path", sa.Text(), nullable=False),
        sa.Column("mime_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("uploaded_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("status", sa.Text(), server_default="accepted", nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
        sa.Column(
            "metadata", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("duration_seconds", sa.Double(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("fps", sa.Double(), nullable=True),
        sa.Column("codec", sa.Text(), nullable=True),
        sa.Column("container", sa.Text(), nullable=True),
        sa.Column("segments", sa.Integer(), nullable=True),
        sa.Column("starts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("frames", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("frames_completed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("frames_failed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("completed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_retryable", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("videos_newest", "videos", ["uploaded_at", "id"], unique=False)
    op.create_table(
        "video_segments",
        sa.Column("video_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("begin_seconds", sa.Double(), nullable=False),
        sa.Column("end_seconds", sa.Double(), nullable=False),
        sa.Column("max_frames", sa.Integer(), nullable=False),
        sa.Column("every_seconds", sa.Double(), nullable=False),
        sa.Column("last", sa.Boolean(), nullable=False),
        sa.Column("done", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("starts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("video_id", "number"),
    )
    op.create_table(
        "deleted_videos",
        sa.Column("video_id", sa.Text(), nullable=False),
        sa.Column("deleted_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("receipt", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("video_id"),
    )
    op.create_index(op.f("ix_deleted_videos_deleted_at"), "deleted_videos", ["deleted_at"], unique=False)
    op.add_column("images", sa.Column("video_id", sa.Text(), nullable=True))
    op.add_column("images", sa.Column("frame_offset_seconds", sa.Double(), nullable=True))
    op.create_index(
        "images_frames",
        "images",
        ["video_id", "frame_offset_seconds", "step"],
        unique=False,
        postgresql_where=sa.text("video_id IS NOT NULL"),
    )
    # The list of images leaves frames out: without this, a page would have to step over all of them.
    op.create_index(
        "images_newest_stills",
        "images",
        ["uploaded_at", "id"],
        unique=False,
        postgresql_where=sa.text("video_id IS NULL"),
    )
    for statement in (SETTLE, ON_IMAGES, ON_TOMBSTONES, ON_SEGMENTS, ADD_BYTES, SUBTRACT_BYTES):
        op.execute(statement)
    for name, what in TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {what}")


def downgrade() -> None:
    for name, what in TRIGGERS.items():
        op.execute(f"DROP TRIGGER {name} ON {what.split(' ON ')[1].split()[0]}")
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    op.drop_index("images_newest_stills", table_name="images", postgresql_where=sa.text("video_id IS NULL"))
    op.drop_index("images_frames", table_name="images", postgresql_where=sa.text("video_id IS NOT NULL"))
    op.drop_column("images", "frame_offset_seconds")
    op.drop_column("images", "video_id")
    op.drop_table("deleted_videos")
    op.drop_table("video_segments")
    op.drop_table("videos")
