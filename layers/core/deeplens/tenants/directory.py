"""Tenants by id, cached for ten seconds."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from deeplens.database.connections import Connections, PlatformAdapter
from deeplens.database.credentials import tenant_url
from deeplens.embedding.model import ModelRef, Thresholds
from deeplens.errors import TenantNotFound
from deeplens.tenants.limits import limits_of
from deeplens.tenants.model import DuplicatePolicy, IngestionPause, Tenant, video_settings_of

CACHE_SECONDS = 10.0
MAX_CACHED = 5000
COLUMNS = """
t.id, t.name, t.status, t.database_server, t.database_name, t.schema_version, t.storage_uri, t.qdrant_url,
t.model_name, t.model_version, t.model_dimensions, t.target_name, t.target_version, t.target_dimensions, m.thresholds,
m.text, t.limits, t.notified, t.ingestion_paused, t.chats, t.duplicates, t.video
"""
CHAT_NOTIFICATIONS = frozenset({"image.completed", "image.failed", "video.completed", "video.failed"})
TENANTS = f"""
SELECT {COLUMNS} FROM tenants t LEFT JOIN models m ON m.name = t.model_name AND m.version = t.model_version
"""  # noqa: S608
SELECT = f"{TENANTS} WHERE t.status IN ('active', 'suspended') AND t.id = %s"


class PostgresDirectory(PlatformAdapter):
    """``TenantDirectory`` on the platform database. ``qdrant_url`` is for tenants whose row has none."""

    def __init__(
        self, connections: Connections, qdrant_url: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(connections)
        self._qdrant_url, self._monotonic = qdrant_url, monotonic
        self._known: dict[str, tuple[float, Tenant]] = {}

    def get(self, tenant_id: str, *, fresh: bool = False) -> Tenant:
        until, tenant = self._known.get(tenant_id, (0.0, None))
        if fresh or tenant is None or until < self._monotonic():
            tenant = self._read(tenant_id)
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            self._known[tenant_id] = (self._monotonic() + CACHE_SECONDS, tenant)
        return tenant

    def _read(self, tenant_id: str) -> Tenant:
        row = self._row(SELECT, [tenant_id])
        if row is None:
            self._known.pop(tenant_id, None)
            raise TenantNotFound(f"no tenant {tenant_id}")
        return tenant_of(row, self._connections, self._qdrant_url)


def tenant_of(row: dict[str, Any], connections: Connections, qdrant_url: str) -> Tenant:
    """The tenant of a row; null servers are the platform's own. Without the tenants' key its database has no URL."""
    server, key = row["database_server"] or connections.platform_url, connections.tenant_key
    pause = row["ingestion_paused"]
    return Tenant(
        id=row["id"],
        name=row["name"],
        status=row["status"],
        database_url=tenant_url(server, row["database_name"], key) if key else "",
        storage_uri=row["storage_uri"],
        qdrant_url=row["qdrant_url"] or qdrant_url,
        model=_model(row, "model"),
        thresholds=Thresholds(**row["thresholds"]) if row["thresholds"] else None,
        text=bool(row["text"]),
        target=_model(row, "target") if row["target_name"] else None,
        limits=limits_of(row["limits"]),
        notified=frozenset(row["notified"]) | (CHAT_NOTIFICATIONS if row["chats"] else frozenset()),
        paused=IngestionPause(pause["metric"], datetime.fromisoformat(pause["until"])) if pause else None,
        duplicates=DuplicatePolicy(**row["duplicates"]),
        video=video_settings_of(row["video"]),
    )


def _model(row: dict[str, Any], which: Literal["model", "target"]) -> ModelRef:
    return ModelRef(row[f"{which}_name"], row[f"{which}_version"], row[f"{which}_dimensions"])
