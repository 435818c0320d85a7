"""Tables of a tenant's database."""

from functools import partial

from sqlalchemy import CheckConstraint, Index, MetaData, UniqueConstraint, text

from deeplens.database.schema import define_table

METADATA = MetaData()
table = partial(define_table, METADATA)

# ``step`` is ``images.model.Step``; states are compared as (generation, step).
# Tags are an array with a GIN index: filters match images with all of some tags, and a tag has no attributes.
table(
    "images",
    "id text key, file_name text, storage_path text, mime_type text, sha256 text, format text?, model text?, "
    "model_version text?, error_code text?, error_message text?, video_id text?, tags text[] = {}, "
    "metadata jsonb = {}, error_retryable boolean?, step smallint = 0, generation int = 1, revision int = 1, "
    "width int?, height int?, attempt int = 1, size_bytes bigint, processing_seconds double?, "
    "frame_offset_seconds double?, uploaded_at time, updated_at time = now(), completed_at time?",
    Index("images_frames", "video_id", "frame_offset_seconds", "step", postgresql_where=text("video_id IS NOT NULL")),
    Index("images_newest", "uploaded_at", "id"),
    Index("images_newest_stills", "uploaded_at", "id", postgresql_where=text("video_id IS NULL")),
    Index("images_sha256", "sha256"),
    Index("images_step", "step", "uploaded_at"),
    Index("images_tags", "tags", postgresql_using="gin"),
)

# Which images have a vector of which model; ``step`` is ``rollouts.model.VectorStep``.
table(
    "image_models",
    "image_id text key -> images.id, model text key, model_version text key, error_code text?, step smallint, "
    "generation int, updated_at time = now()",
    Index("image_models_open", "model", "model_version", "step", "image_id", postgresql_where=text("step < 3")),
)

# Timelines of images; a repeated stage adds nothing. ``recorded_at`` orders all events of a tenant.
table(
    "image_events",
    "id bigint key = identity, image_id text -> images.id, stage text, error_code text?, error_message text?, "
    "step smallint, generation int, duration_seconds double?, occurred_at time, recorded_at time = clock_timestamp()",
    Index("image_events_errors", "recorded_at", "id", postgresql_where=text("error_code IS NOT NULL")),
    Index("image_events_newest", "recorded_at", "id"),
    Index("image_events_stage", "stage", "recorded_at", "id"),
    Index("image_events_step", "step", "recorded_at", "id"),
    UniqueConstraint("image_id", "generation", "step", "stage"),
)

# One row with the totals of ``images``. Triggers update it on every insertion and deletion.
table(
    "storage_totals",
    "one boolean key = true, images bigint, bytes bigint",
    CheckConstraint("one", name="storage_totals_one"),
)

# Objects of customer-owned storage as they were last listed; keys sort by their bytes.
table(
    "store_objects",
    "store_id text key, key text_c key, etag text, image_id text, state text, run_id text?, version int",
)

# Tombstones, kept for 37 days so that no late event recreates an image.
table("deleted_images", "image_id text key, merged_into text?, receipt jsonb?, deleted_at time index")

# An image's pHash; its 64 bits as a signed integer.
table("image_hashes", "image_id text key -> images.id, phash bigint")

# Groups of duplicates; ``into_id`` is the group that this group was merged into.
table(
    "duplicate_groups",
    "id text key, into_id text?, size int = 0, created_at time",
    Index("duplicate_groups_newest", "created_at", "id", postgresql_where=text("size > 1")),
)

# The group of an image. A trigger reduces the group's size when a member is deleted.
table("duplicate_members", "image_id text key -> images.id, group_id text -> duplicate_groups.id index")

# Two images, the earlier one first, the evidence that they are duplicates, and the decision.
table(
    "duplicate_pairs",
    "id text key, first_id text -> images.id index, second_id text -> images.id index, verdict text?, model text, "
    "decision text?, decided_by text?, evidence jsonb, found_at time, recorded_at time?, decided_at time?",
)

# Merges of images; ``before`` is the state of the kept image that an undo restores.
table(
    "merges",
    "id text key, group_id text?, kept_id text index, by text, state text, pair_id text? index, merged_ids text[], "
    "before jsonb, merged_at time, undo_until time",
    Index("merges_newest", "merged_at", "id"),
)

# Triggers derive counts and status from segments and frames. ``starts`` counts attempts that did not end.
table(
    "videos",
    "id text key, file_name text, storage_path text, mime_type text, sha256 text?, status text = accepted, "
    "codec text?, container text?, error_code text?, error_message text?, tags text[] = {}, metadata jsonb = {}, "
    "error_retryable boolean?, width int?, height int?, segments int?, starts int = 0, frames int = 0, "
    "frames_completed int = 0, frames_failed int = 0, size_bytes bigint, duration_seconds double?, fps double?, "
    "uploaded_at time, updated_at time = now(), completed_at time?",
    Index("videos_newest", "uploaded_at", "id"),
)

# Segments of a video, each processed by one event.
table(
    "video_segments",
    "video_id text key -> videos.id, number int key, last boolean, done boolean = false, max_frames int, "
    "starts int = 0, begin_seconds double, end_seconds double, every_seconds double",
)

# Tombstones of videos, kept as long as those of images.
table("deleted_videos", "video_id text key, receipt jsonb?, deleted_at time index")
