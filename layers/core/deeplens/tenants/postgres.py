"""Tenants in every status, with the progress of their creation or deletion."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from deeplens.database.connections import PlatformAdapter
from deeplens.database.values import as_jsonb, as_text
from deeplens.embedding.model import ModelRef
from deeplens.errors import TenantNotFound
from deeplens.tenants.limits import ResourceLimits, limits_of
from deeplens.tenants.model import DuplicatePolicy, TenantRecord, TenantStatus, video_settings_of

COLUMNS = (
    "id, name, status, database_server IS NOT NULL AS own_database_server, storage_uri, qdrant_url, model_name, "
    "model_version, model_dimensions, limits, settings, progress, status_since, created_at, video"
)
FIND = f"SELECT {COLUMNS} FROM tenants WHERE id = %s"  # noqa: S608
PAGE = f"""
SELECT {COLUMNS} FROM tenants WHERE id > %s AND (%s::text IS NULL OR status = %s) ORDER BY id LIMIT %s
"""  # noqa: S608
CHANGE = "UPDATE tenants SET name = coalesce(%s, name), settings = coalesce(%s, settings) WHERE id = %s"
CHANGE_STATUS = """
UPDATE tenants SET status = %s, status_since = %s, progress = '{}' WHERE id = %s AND status = ANY(%s)
"""
SET = "UPDATE tenants SET {column} = %s WHERE id = %s AND status NOT IN ('deleting', 'deleted')"
VIDEO = "UPDATE tenants SET video = video || %s WHERE id = %s"
RECORD_STEP = "UPDATE tenants SET progress = progress || %s WHERE id = %s"
FINISH_DELETION = """
UPDATE tenants SET status = 'deleted', status_since = %s, progress = progress - 'objectsSoFar' || %s
WHERE id = %s AND status = 'deleting'
"""
UNSETTLED = """
SELECT id FROM tenants WHERE status IN ('provisioning', 'deleting') AND status_since < %s ORDER BY status_since LIMIT %s
"""
TENANT_TABLES = {
    "keys": "tenant_api_keys",
    "users": "nextgen_identity.users",
    "invitations": "nextgen_identity.invitations",
    "clients": "nextgen_identity.clients",
    "identityProviders": "nextgen_identity.identity_providers",
    "pendingImages": "pending_images",
    "pendingVideos": "pending_videos",
    "deadLetters": "dead_letters",
    "usageDays": "usage_daily",
    "requestMinutes": "request_counters",
    "unmetered": "usage_outbox",
    "budgets": "usage_budgets",
    "budgetWarnings": "usage_budget_warnings",
    "rollouts": "model_rollouts",
    "maintenanceRuns": "maintenance_runs",
    "stores": "tenant_stores",
    "uploads": "direct_uploads",
    "webhooks": "webhooks",
    "whatsAppReplies": "whatsapp_replies",
    "whatsAppMessages": "whatsapp_messages",
    "whatsAppRules": "whatsapp_rules",
    "whatsAppChats": "whatsapp_chats",
    "mergeDeadlines": "merge_deadlines",
    "sweeps": "tenant_sweeps",
}
"""Tables of the platform database with a tenant's rows, by their names in the receipt; the audit log stays."""
# Not those of a migration that has not run yet.
PRESENT = "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NOT NULL"
BLANK = """
UPDATE tenants SET name = '', settings = '{}', limits = '{}', notified = '{}', chats = false, duplicates = '{}',
    video = '{}' WHERE id = %s
"""


class PostgresTenantRecords(PlatformAdapter):
    """``TenantRecords`` on the table ``tenants``."""

    def find(self, tenant_id: str) -> TenantRecord | None:
        row = self._row(FIND, [as_text(tenant_id)])
        return _record(row) if row else None

    def page(self, after: str, status: str | None, limit: int) -> list[TenantRecord]:
        return [_record(row) for row in self._rows(PAGE, [as_text(after), status, status, limit])]

    def change(self, tenant_id: str, name: str | None, settings: dict[str, Any] | None) -> None:
        self._execute(CHANGE, [name and as_text(name), None if settings is None else as_jsonb(settings), tenant_id])

    def change_video(self, tenant_id: str, changes: dict[str, Any]) -> None:
        self._execute(VIDEO, [Jsonb(changes), tenant_id])

    def set_limits(self, tenant_id: str, limits: ResourceLimits) -> None:
        limits.check()
        self._set("limits", tenant_id, limits.given())

    def set_duplicates(self, tenant_id: str, policy: DuplicatePolicy) -> None:
        self._set("duplicates", tenant_id, asdict(policy))

    def change_status(self, tenant_id: str, status: TenantStatus, now: datetime, *before: TenantStatus) -> bool:
        return self._execute(CHANGE_STATUS, [status, now, tenant_id, list(before)]) == 1

    def record_step(self, tenant_id: str, step: str, detail: Any) -> None:
        self._execute(RECORD_STEP, [Jsonb({step: detail}), tenant_id])

    def delete_rows(self, tenant_id: str) -> dict[str, int]:
        with self._platform() as connection, connection.transaction():
            present = {row["name"] for row in connection.execute(PRESENT, [[*TENANT_TABLES.values()]]).fetchall()}
            counts = {
                name: connection.execute(f"DELETE FROM {table} WHERE tenant_id = %s".encode(), [tenant_id]).rowcount  # noqa: S608
                for name, table in TENANT_TABLES.items()
                if table in present
            }
            connection.execute(BLANK, [tenant_id])
        return counts

    def finish_deletion(self, tenant_id: str, now: datetime) -> None:
        self._execute(FINISH_DELETION, [now, Jsonb({"completedAt": now.isoformat()}), tenant_id])

    def unsettled(self, since: datetime, limit: int) -> list[str]:
        return [row["id"] for row in self._rows(UNSETTLED, [since, limit])]

    def _set(self, column: Literal["limits", "duplicates"], tenant_id: str, value: dict[str, Any]) -> None:
        if not self._execute(SET.format(column=column), [Jsonb(value), tenant_id]):
            raise TenantNotFound(f"no tenant {tenant_id}")


def _record(row: dict[str, Any]) -> TenantRecord:
    model = ModelRef(row.pop("model_name"), row.pop("model_version"), row.pop("model_dimensions"))
    read = {"limits": limits_of(row["limits"]), "video": video_settings_of(row["video"])}
    return TenantRecord(model=model, **row | read)
