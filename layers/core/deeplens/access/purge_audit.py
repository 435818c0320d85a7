"""Every minute: entries of the audit log that are older than its retention → deleted"""

from typing import ClassVar

from deeplens.access.ports import AuditLog, AuditRetention
from deeplens.common.event import Event


class PurgeAudit:
    """Delete the oldest entries, which the log itself records. Emits nothing."""

    name: ClassVar = "audit"
    purged_at_once: ClassVar = 5000

    def __init__(self, audit: AuditLog, audit_kept: AuditRetention) -> None:
        self._audit, self._kept = audit, audit_kept

    def __call__(self) -> list[Event]:
        self._audit.purge(self._kept, self.purged_at_once)
        return []
