"""Tables of a tenant's database."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    type_annotation_map = {str: Text, datetime: TIMESTAMP(timezone=True), dict[str, Any]: JSONB, list[str]: ARRAY(Text)}  # noqa: RUF012


class ImageRow(Base):
    """``step`` is ``deeplens.domain.Step``; state is compared as (generation, step).

    Tags are an array with a GIN index: filters ask for all of some tags, and no tag has attributes of its own.
    """

    __tablename__ = "images"

    id: Mapped[str] = mapped_column(primary_key=True)
    file_name: Mapped[str]
    storage_path: Mapped[str]
    mime_type: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    uploaded_at: Mapped[datetime]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    generation: Mapped[int] = mapped_column(server_default="1")
    step: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    revision: Mapped[int] = mapped_column(server_default="1")
    tags: Mapped[list[str]] = mapped_column(server_default=text("'{}'::text[]"))
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'::jsonb"))
    width: Mapped[int | None]
    height: Mapped[int | None]
    format: Mapped[str | None]
    completed_at: Mapped[datetime | None]
    processing_seconds: Mapped[float | None]
    model: Mapped[str | None]
    model_version: Mapped[str | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    error_retryable: Mapped[bool | None]
    attempt: Mapped[int] = mapped_column(server_default="1")
    video_id: Mapped[str | None]
    frame_offset_seconds: Mapped[float | None]

    __table_args__ = (
        Index("images_newest", "uploaded_at", "id"),
        Index("images_step", "step", "uploaded_at"),
        Index("images_tags", "tags", postgresql_using="gin"),
        Index("images_sha256", "sha256"),
        Index(
            "images_frames", "video_id", "frame_offset_seconds", "step", postgresql_where=text("video_id IS NOT NULL")
        ),
        Index("images_newest_stills", "uploaded_at", "id", postgresql_where=text("video_id IS NULL")),
    )


class ImageModelRow(Base):
    """Which images have a vector of which model; ``step`` is ``deeplens.domain.VectorStep``."""

    __tablename__ = "image_models"

    image_id: Mapped[str] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    step: Mapped[int] = mapped_column(SmallInteger)
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    error_code: Mapped[str | None]

    __table_args__ = (
        Index("image_models_open", "model", "model_version", "step", "image_id", postgresql_where=text("step < 3")),
    )


class ImageEventRow(Base):
    """An image's timeline; a repeated stage adds nothing. ``recorded_at`` gives all of a tenant's one order."""

    __tablename__ = "image_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    generation: Mapped[int]
    step: Mapped[int] = mapped_column(SmallInteger)
    stage: Mapped[str]
    occurred_at: Mapped[datetime]
    duration_seconds: Mapped[float | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())

    __table_args__ = (
        UniqueConstraint("image_id", "generation", "step", "stage"),
        Index("image_events_newest", "recorded_at", "id"),
        Index("image_events_stage", "stage", "recorded_at", "id"),
        Index("image_events_step", "step", "recorded_at", "id"),
        Index("image_events_errors", "recorded_at", "id", postgresql_where=text("error_code IS NOT NULL")),
    )


class StorageTotalsRow(Base):
    """One row: what all rows of ``images`` add up to. Triggers keep it, whoever inserts or deletes."""

    __tablename__ = "storage_totals"

    one: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    images: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (CheckConstraint("one", name="storage_totals_one"),)


class StoreObjectRow(Base):
    """Objects of the tenant's own stores as they were last seen; keys are in the order of their bytes."""

    __tablename__ = "store_objects"

    store_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    etag: Mapped[str]
    image_id: Mapped[str]
    version: Mapped[int]
    state: Mapped[str]
    run_id: Mapped[str | None]


class DeletedImageRow(Base):
    """Tombstones, kept 37 days so that no late event revives an image."""

    __tablename__ = "deleted_images"

    image_id: Mapped[str] = mapped_column(primary_key=True)
    deleted_at: Mapped[datetime] = mapped_column(index=True)
    receipt: Mapped[dict[str, Any] | None]
    merged_into: Mapped[str | None]


class ImageHashRow(Base):
    """An image's pHash; its 64 bits as a signed integer."""

    __tablename__ = "image_hashes"

    image_id: Mapped[str] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    phash: Mapped[int] = mapped_column(BigInteger)


class DuplicateGroupRow(Base):
    """Images that are duplicates of one another; ``into_id`` is the group that this one went into."""

    __tablename__ = "duplicate_groups"

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    size: Mapped[int] = mapped_column(server_default="0")
    into_id: Mapped[str | None]

    __table_args__ = (Index("duplicate_groups_newest", "created_at", "id", postgresql_where=text("size > 1")),)


class DuplicateMemberRow(Base):
    """Which group an image is in. A trigger takes a member that goes off its group's size."""

    __tablename__ = "duplicate_members"

    image_id: Mapped[str] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    group_id: Mapped[str] = mapped_column(ForeignKey("duplicate_groups.id", ondelete="CASCADE"), index=True)


class DuplicatePairRow(Base):
    """Two images, the earlier one first, what speaks for them being duplicates, and what was decided."""

    __tablename__ = "duplicate_pairs"

    id: Mapped[str] = mapped_column(primary_key=True)
    first_id: Mapped[str] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), index=True)
    second_id: Mapped[str] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), index=True)
    verdict: Mapped[str | None]
    evidence: Mapped[dict[str, Any]]
    model: Mapped[str]
    found_at: Mapped[datetime]
    recorded_at: Mapped[datetime | None]
    decision: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]


class MergeRow(Base):
    """Images that were merged into one; ``before`` is what an undo gives back to it."""

    __tablename__ = "merges"

    id: Mapped[str] = mapped_column(primary_key=True)
    group_id: Mapped[str | None]
    kept_id: Mapped[str] = mapped_column(index=True)
    merged_ids: Mapped[list[str]]
    merged_at: Mapped[datetime]
    undo_until: Mapped[datetime]
    by: Mapped[str]
    state: Mapped[str]
    pair_id: Mapped[str | None] = mapped_column(index=True)
    before: Mapped[dict[str, Any]]

    __table_args__ = (Index("merges_newest", "merged_at", "id"),)


class VideoRow(Base):
    """Counts and status follow from segments and frames, by triggers. ``starts`` did not come to an end so far."""

    __tablename__ = "videos"

    id: Mapped[str] = mapped_column(primary_key=True)
    file_name: Mapped[str]
    storage_path: Mapped[str]
    mime_type: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None]
    uploaded_at: Mapped[datetime]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    status: Mapped[str] = mapped_column(server_default="accepted")
    tags: Mapped[list[str]] = mapped_column(server_default=text("'{}'::text[]"))
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'::jsonb"))
    duration_seconds: Mapped[float | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    fps: Mapped[float | None]
    codec: Mapped[str | None]
    container: Mapped[str | None]
    segments: Mapped[int | None]
    starts: Mapped[int] = mapped_column(server_default=text("0"))
    frames: Mapped[int] = mapped_column(server_default=text("0"))
    frames_completed: Mapped[int] = mapped_column(server_default=text("0"))
    frames_failed: Mapped[int] = mapped_column(server_default=text("0"))
    completed_at: Mapped[datetime | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    error_retryable: Mapped[bool | None]

    __table_args__ = (Index("videos_newest", "uploaded_at", "id"),)


class VideoSegmentRow(Base):
    """Parts of a video, each the work of one event."""

    __tablename__ = "video_segments"

    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    begin_seconds: Mapped[float]
    end_seconds: Mapped[float]
    max_frames: Mapped[int]
    every_seconds: Mapped[float]
    last: Mapped[bool]
    done: Mapped[bool] = mapped_column(server_default=text("false"))
    starts: Mapped[int] = mapped_column(server_default=text("0"))


class DeletedVideoRow(Base):
    """Tombstones of videos, kept as those of images."""

    __tablename__ = "deleted_videos"

    video_id: Mapped[str] = mapped_column(primary_key=True)
    deleted_at: Mapped[datetime] = mapped_column(index=True)
    receipt: Mapped[dict[str, Any] | None]
