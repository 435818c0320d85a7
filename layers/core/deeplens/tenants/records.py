"""Tenants as operators see them: every status, with what is done of their creation or deletion."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from deeplens.database.connections import Connections
from deeplens.database.values import as_jsonb, as_text
from deeplens.embedding.model import ModelRef
from deeplens.errors import TenantNotFound
from deeplens.tenants.duplicate_policy import DuplicatePolicy
from deeplens.tenants.limits import ResourceLimits, limits_of
from deeplens.tenants.model import TenantStatus
from deeplens.tenants.video_settings import VideoSettings, video_settings_of

COLUMNS = (
    "id, name, status, database_server IS NOT NULL AS own_database_server, storage_uri, qdrant_url, model_name, "
    "model_version, model_dimensions, limits, settings, progress, status_since, created_at, "
    "coalesce(to_jsonb(tenants) -> 'video', '{}') AS video"
)
FIND = f"SELECT {COLUMNS} FROM tenants WHERE id = %s"  # noqa: S608
PAGE = f"""
SELECT {COLUMNS} FROM tenants WHERE id > %s AND (%s::text IS NULL OR status = %s) ORDER BY id LIMIT %s
"""  # noqa: S608
CHANGE = "UPDATE tenants SET name = coalesce(%s, name), settings = coalesce(%s, settings) WHERE id = %s"
MOVE = """
UPDATE tenants SET status = %s, status_since = %s, progress = '{}' WHERE id = %s AND status = ANY(%s)
"""
LIMITS = "UPDATE tenants SET limits = %s WHERE id = %s AND status NOT IN ('deleting', 'deleted')"
DUPLICATES = "UPDATE tenants SET duplicates = %s WHERE id = %s AND status NOT IN ('deleting', 'deleted')"
VIDEO = "UPDATE tenants SET video = video || %s WHERE id = %s"
STEP = "UPDATE tenants SET progress = progress || %s WHERE id = %s"
DELETED = """
UPDATE tenants SET status = 'deleted', status_since = %s, progress = progress - 'objectsSoFar' || %s
WHERE id = %s AND status = 'deleting'
"""
UNSETTLED = """
SELECT id FROM tenants WHERE status IN ('provisioning', 'deleting') AND status_since < %s ORDER BY status_since LIMIT %s
"""
ERASED = {
    "keys": "DELETE FROM tenant_api_keys WHERE tenant_id = %s",
    "users": "DELETE FROM nextgen_identity.users WHERE tenant_id = %s",
    "clients": "DELETE FROM nextgen_identity.clients WHERE tenant_id = %s",
    "pendingImages": "DELETE FROM pending_images WHERE tenant_id = %s",
    "pendingVideos": "DELETE FROM pending_videos WHERE tenant_id = %s",
    "deadLetters": "DELETE FROM dead_letters WHERE tenant_id = %s",
    "usageDays": "DELETE FROM usage_daily WHERE tenant_id = %s",
    "requestMinutes": "DELETE FROM request_counters WHERE tenant_id = %s",
    "unmetered": "DELETE FROM usage_outbox WHERE tenant_id = %s",
    "budgets": "DELETE FROM usage_budgets WHERE tenant_id = %s",
    "budgetWarnings": "DELETE FROM usage_budget_warnings WHERE tenant_id = %s",
    "rollouts": "DELETE FROM model_rollouts WHERE tenant_id = %s",
    "maintenanceRuns": "DELETE FROM maintenance_runs WHERE tenant_id = %s",
    "stores": "DELETE FROM tenant_stores WHERE tenant_id = %s",
    "uploads": "DELETE FROM direct_uploads WHERE tenant_id = %s",
    "webhooks": "DELETE FROM webhooks WHERE tenant_id = %s",
    "whatsAppReplies": "DELETE FROM whatsapp_replies WHERE tenant_id = %s",
    "whatsAppMessages": "DELETE FROM whatsapp_messages WHERE tenant_id = %s",
    "whatsAppRules": "DELETE FROM whatsapp_rules WHERE tenant_id = %s",
    "whatsAppChats": "DELETE FROM whatsapp_chats WHERE tenant_id = %s",
    "mergeDeadlines": "DELETE FROM merge_deadlines WHERE tenant_id = %s",
    "sweeps": "DELETE FROM tenant_sweeps WHERE tenant_id = %s",
}
"""What the platform database knows of a tenant beside its row and the audit log."""
BLANK = """
UPDATE tenants SET name = '', settings = '{}', limits = '{}', notified = '{}', chats = false, duplicates = '{}',
    video = '{}' WHERE id = %s
"""


@dataclass(frozen=True, slots=True)
class TenantRecord:
    """A tenant's row.

    Attributes
    ----------
    progress : what is done of its creation or deletion, by step.
    """

    id: str
    name: str
    status: TenantStatus
    own_database_server: bool
    storage_uri: str
    qdrant_url: str | None
    model: ModelRef
    limits: ResourceLimits
    settings: dict[str, Any]
    video: VideoSettings
    progress: dict[str, Any]
    status_since: datetime
    created_at: datetime


class PostgresTenantRecords:
    """The table ``tenants``."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def find(self, tenant_id: str) -> TenantRecord | None:
        with self._connections.platform() as connection:
            row = connection.execute(FIND, [as_text(tenant_id)]).fetchone()
        return _record(row) if row else None

    def page(self, after: str, status: str | None, limit: int) -> list[TenantRecord]:
        """Tenants by id."""
        with self._connections.platform() as connection:
            rows = connection.execute(PAGE, [as_text(after), status, status, limit]).fetchall()
        return [_record(row) for row in rows]

    def change(self, tenant_id: str, name: str | None, settings: dict[str, Any] | None) -> None:
        with self._connections.platform() as connection:
            connection.execute(
                CHANGE, [name and as_text(name), None if settings is None else as_jsonb(settings), tenant_id]
            )

    def change_video(self, tenant_id: str, changes: dict[str, Any]) -> None:
        """Change some of a tenant's ``VideoSettings``, by their names; videos that are split from then on follow."""
        with self._connections.platform() as connection:
            connection.execute(VIDEO, [Jsonb(changes), tenant_id])

    def set_limits(self, tenant_id: str, limits: ResourceLimits) -> None:
        """Replace a tenant's own limits; every process knows within ten seconds. What is stored already stays.

        Raises
        ------
        ValueError
            A limit is negative or not a whole number.
        TenantNotFound
        """
        limits.check()
        with self._connections.platform() as connection:
            if not connection.execute(LIMITS, [Jsonb(limits.given()), tenant_id]).rowcount:
                raise TenantNotFound(f"no tenant {tenant_id}")

    def set_duplicates(self, tenant_id: str, policy: DuplicatePolicy) -> None:
        """Set what a tenant wants done about duplicates; every process knows within ten seconds.

        Raises ``TenantNotFound``.
        """
        with self._connections.platform() as connection:
            if not connection.execute(DUPLICATES, [Jsonb(asdict(policy)), tenant_id]).rowcount:
                raise TenantNotFound(f"no tenant {tenant_id}")

    def move(self, tenant_id: str, status: TenantStatus, now: datetime, *before: TenantStatus) -> bool:
        """Give it a new status. False unless it has one of those before."""
        with self._connections.platform() as connection:
            return connection.execute(MOVE, [status, now, tenant_id, list(before)]).rowcount == 1

    def done(self, tenant_id: str, step: str, detail: Any) -> None:
        """Note a step of its creation or deletion."""
        with self._connections.platform() as connection:
            connection.execute(STEP, [Jsonb({step: detail}), tenant_id])

    def erase(self, tenant_id: str) -> dict[str, int]:
        """Remove what the platform knows of a tenant except that there was one; returns how many rows of each kind."""
        with self._connections.platform() as connection, connection.transaction():
            counts = {name: connection.execute(sql, [tenant_id]).rowcount for name, sql in ERASED.items()}
            connection.execute(BLANK, [tenant_id])
        return counts

    def finish_deletion(self, tenant_id: str, now: datetime) -> None:
        """Keep the row as a receipt: its steps, and when all was gone."""
        with self._connections.platform() as connection:
            connection.execute(DELETED, [now, Jsonb({"completedAt": now.isoformat()}), tenant_id])

    def unsettled(self, since: datetime, limit: int) -> list[str]:
        """Tenants that have been in creation or deletion since before then, the longest first."""
        with self._connections.platform() as connection:
            return [row["id"] for row in connection.execute(UNSETTLED, [since, limit]).fetchall()]


def _record(row: dict[str, Any]) -> TenantRecord:
    model = ModelRef(row.pop("model_name"), row.pop("model_version"), row.pop("model_dimensions"))
    read = {"limits": limits_of(row["limits"]), "video": video_settings_of(row["video"])}
    return TenantRecord(model=model, **row | read)
