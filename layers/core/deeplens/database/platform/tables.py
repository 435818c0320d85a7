"""Tables of the platform database; those of signing in are beside this file."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    type_annotation_map = {str: Text, datetime: TIMESTAMP(timezone=True), dict[str, Any]: JSONB, list[str]: ARRAY(Text)}  # noqa: RUF012


class TenantRow(Base):
    """``database_server`` and ``qdrant_url`` are null where the platform's own serve the tenant.

    ``target_*`` is a second model that every image is embedded with; cut-over and roll-back exchange the two.
    ``progress`` holds the steps of creation and deletion that are done; a deleted tenant's row stays as its receipt.
    """

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="provisioning")
    database_server: Mapped[str | None]
    database_name: Mapped[str] = mapped_column(unique=True)
    storage_uri: Mapped[str] = mapped_column(unique=True)
    qdrant_url: Mapped[str | None]
    model_name: Mapped[str]
    model_version: Mapped[str]
    model_dimensions: Mapped[int]
    target_name: Mapped[str | None]
    target_version: Mapped[str | None]
    target_dimensions: Mapped[int | None]
    schema_version: Mapped[str | None]
    limits: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    settings: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    progress: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    status_since: Mapped[datetime] = mapped_column(server_default=func.now())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    notified: Mapped[list[str]] = mapped_column(server_default=text("'{}'::text[]"))
    ingestion_paused: Mapped[dict[str, Any] | None]
    chats: Mapped[bool] = mapped_column(server_default=text("false"))
    duplicates: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    video: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))

    __table_args__ = (
        Index("tenants_unsettled", "status_since", postgresql_where=text("status IN ('provisioning', 'deleting')")),
    )


class ModelRow(Base):
    """What is known of a model; ``thresholds`` are the cosines of its match labels."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    dimensions: Mapped[int]
    thresholds: Mapped[dict[str, Any] | None]
    text: Mapped[bool] = mapped_column(server_default=text("false"))


class ModelRolloutRow(Base):
    """A tenant's change of model; at most one that has not ended."""

    __tablename__ = "model_rollouts"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    state: Mapped[str]
    source_name: Mapped[str]
    source_version: Mapped[str]
    source_dimensions: Mapped[int]
    target_name: Mapped[str]
    target_version: Mapped[str]
    target_dimensions: Mapped[int]
    dual_since: Mapped[datetime]
    created_at: Mapped[datetime]
    cut_over_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    dropped_at: Mapped[datetime | None]

    __table_args__ = (
        Index("model_rollouts_tenant", "tenant_id", "created_at"),
        Index("model_rollouts_live", "tenant_id", unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("model_rollouts_unfinished", "created_at", postgresql_where=text("dropped_at IS NULL")),
    )


class ApiKeyRow(Base):
    """``secret_sha256`` is all that is kept of a key. An operator's key has no tenant."""

    __tablename__ = "tenant_api_keys"

    prefix: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    secret_sha256: Mapped[bytes]
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class PendingImageRow(Base):
    """Accepted images that have not ended; ``released`` ones are in flight, the others wait for the tenant's window."""

    __tablename__ = "pending_images"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    image_id: Mapped[str] = mapped_column(primary_key=True)
    event: Mapped[dict[str, Any]]
    released: Mapped[bool]
    due: Mapped[datetime]
    accepted_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())

    __table_args__ = (
        Index("pending_images_due", "due", postgresql_where=text("released")),
        Index("pending_images_waiting", "tenant_id", "accepted_at", postgresql_where=text("NOT released")),
        Index("pending_images_in_flight", "tenant_id", postgresql_where=text("released")),
    )


class PendingVideoRow(Base):
    """Accepted videos whose segments are not all done."""

    __tablename__ = "pending_videos"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    video_id: Mapped[str] = mapped_column(primary_key=True)
    event: Mapped[dict[str, Any]]
    due: Mapped[datetime]

    __table_args__ = (Index("pending_videos_due", "due"),)


class AuditRow(Base):
    """Append-only, held by a trigger. Every write has two entries: ``begun``, and how it ended."""

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    actor: Mapped[str]
    client_id: Mapped[str | None]
    actor_tenant_id: Mapped[str | None]
    tenant_id: Mapped[str | None]
    action: Mapped[str]
    target: Mapped[str]
    outcome: Mapped[str]
    detail: Mapped[dict[str, Any] | None]
    request_id: Mapped[str]

    __table_args__ = (Index("audit_log_tenant", "tenant_id", "id"),)


class TenantSweepRow(Base):
    """When a tenant changed, noted every ten minutes at most, and when its last sweep began.

    ``due``: it changed since. A trigger on ``pending_images`` notes accepted images, whoever inserts them. What it
    stores was measured with every change noted before ``measured_at``.
    """

    __tablename__ = "tenant_sweeps"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    changed_at: Mapped[datetime]
    swept_at: Mapped[datetime]
    due: Mapped[bool]
    measured_at: Mapped[datetime | None]

    __table_args__ = (
        Index("tenant_sweeps_due", "swept_at", postgresql_where=text("due")),
        Index(
            "tenant_sweeps_unmeasured",
            "changed_at",
            postgresql_where=text("measured_at IS NULL OR measured_at < changed_at"),
        ),
    )


class MaintenanceRunRow(Base):
    """A run of maintenance; ``due`` is when the schedule carries it on, unless it carried itself on."""

    __tablename__ = "maintenance_runs"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    type: Mapped[str]
    dry_run: Mapped[bool]
    created_at: Mapped[datetime]
    due: Mapped[datetime]
    cursor: Mapped[str]
    slices: Mapped[int]
    report: Mapped[dict[str, Any]]
    ended_at: Mapped[datetime | None]
    error: Mapped[str | None]

    __table_args__ = (
        Index("maintenance_runs_tenant", "tenant_id", "created_at"),
        Index("maintenance_runs_newest", "created_at"),
        Index("maintenance_runs_live", "tenant_id", "type", unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("maintenance_runs_due", "due", postgresql_where=text("ended_at IS NULL")),
    )


class WebhookRow(Base):
    """An endpoint of a tenant. Its secret follows from the platform's key, its id and ``secret_version``.

    The types that enabled webhooks want stand in ``tenants.notified`` as well, written in the same transaction.
    """

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    url: Mapped[str]
    events: Mapped[list[str]]
    created_at: Mapped[datetime]
    enabled: Mapped[bool]
    disabled_reason: Mapped[str | None]
    secret_version: Mapped[int]
    previous_until: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    failures: Mapped[int]
    paused_until: Mapped[datetime | None]


class WebhookDeliveryRow(Base):
    """One message to one webhook; its id follows from the webhook's and the event's, so that there is one only."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    tenant_id: Mapped[str]
    event_id: Mapped[str]
    type: Mapped[str]
    body: Mapped[str]
    created_at: Mapped[datetime]
    next_at: Mapped[datetime]
    state: Mapped[str]
    attempts: Mapped[int]
    last_status: Mapped[int | None]
    last_error: Mapped[str | None]
    delivered_at: Mapped[datetime | None]

    __table_args__ = (
        Index("webhook_deliveries_newest", "webhook_id", "created_at"),
        Index("webhook_deliveries_waiting", "next_at", postgresql_where=text("state = 'waiting'")),
        Index("webhook_deliveries_ended", "created_at", postgresql_where=text("state <> 'waiting'")),
    )


class DeadLetterRow(Base):
    """``source`` is the record that failed: topic, partition, offset, key and value in base64.

    ``state`` is open, replayed or discarded; ``settled_at`` and ``reason`` say since when and why.
    """

    __tablename__ = "dead_letters"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str | None]
    image_id: Mapped[str | None]
    stage: Mapped[str | None]
    error_code: Mapped[str]
    error_message: Mapped[str]
    attempt: Mapped[int]
    failed_at: Mapped[datetime]
    source: Mapped[dict[str, Any] | None]
    stored_at: Mapped[datetime] = mapped_column(server_default=func.now())
    state: Mapped[str] = mapped_column(server_default="open")
    replays: Mapped[int] = mapped_column(server_default=text("0"))
    settled_at: Mapped[datetime | None]
    reason: Mapped[str | None]

    __table_args__ = (
        Index("dead_letters_newest", "failed_at", "id"),
        Index("dead_letters_tenant", "tenant_id", "failed_at"),
        Index("dead_letters_code", "error_code", "stage"),
    )


class OperatorAlertRow(Base):
    """Dead letters and broken runs; triggers add them. ``due`` is when somebody else may try to tell of one."""

    __tablename__ = "operator_alerts"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    code: Mapped[str]
    stage: Mapped[str | None]
    tenant_id: Mapped[str | None]
    raised_at: Mapped[datetime]
    due: Mapped[datetime]
    told_at: Mapped[datetime | None]

    __table_args__ = (
        Index("operator_alerts_untold", "due", postgresql_where=text("told_at IS NULL")),
        Index("operator_alerts_raised", "raised_at"),
    )


class MergeDeadlineRow(Base):
    """When merges of images settle. The merge itself stands in its tenant's database."""

    __tablename__ = "merge_deadlines"

    merge_id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(primary_key=True, index=True)
    due: Mapped[datetime] = mapped_column(index=True)
