"""Table of stores that tenants registered, in the platform database."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from deeplens.database.platform.tables import Base


class TenantStoreRow(Base):
    """``deeplens.tenant_stores.TenantStore``. Credentials are kept in the secret store, their version here."""

    __tablename__ = "tenant_stores"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    mode: Mapped[str]
    container: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[datetime]
    endpoint: Mapped[str | None]
    region: Mapped[str | None]
    prefix: Mapped[str]
    role_arn: Mapped[str | None]
    bucket_owner: Mapped[str | None]
    credentials_version: Mapped[int]
    removal: Mapped[str]
    state: Mapped[str]
    checks: Mapped[dict[str, Any]]
    notified_at: Mapped[datetime | None]
    former_uri: Mapped[str | None]
    event_secret_sha256: Mapped[str]
