"""Tables of direct uploads in the platform database."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from deeplens.database.platform.tables import Base


class DirectUploadRow(Base):
    """``deeplens.direct_uploads.DirectUpload``; ``claimed_until`` keeps two workers from one upload."""

    __tablename__ = "direct_uploads"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    file_name: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None]
    tags: Mapped[list[str]]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata")
    part_bytes: Mapped[int | None] = mapped_column(BigInteger)
    multipart_id: Mapped[str | None]
    status: Mapped[str]
    attempts: Mapped[int]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    due: Mapped[datetime]
    claimed_until: Mapped[datetime | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    error_retryable: Mapped[bool | None]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        Index("direct_uploads_due", "due", postgresql_where=text("status = 'open'")),
        Index("direct_uploads_open", "tenant_id", postgresql_where=text("status = 'open'")),
        Index("direct_uploads_ended", "ended_at", postgresql_where=text("status <> 'open'")),
    )
