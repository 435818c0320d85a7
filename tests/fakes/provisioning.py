"""Tenants' rows and databases as the schedule settles them, in memory."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from deeplens.tenants.model import Tenant, TenantRecord


class FakeTenantRecords:
    """The part of ``TenantRecords`` that creations and deletions use."""

    def __init__(self, *records: TenantRecord) -> None:
        self.records = {record.id: record for record in records}

    def unsettled(self, since: datetime, limit: int) -> list[str]:
        waiting = [record for record in self.records.values() if record.status in ("provisioning", "deleting")]
        ordered = sorted(waiting, key=lambda record: record.status_since)
        return [record.id for record in ordered if record.status_since < since][:limit]

    def find(self, tenant_id: str) -> TenantRecord | None:
        return self.records.get(tenant_id)

    def record_step(self, tenant_id: str, step: str, detail: Any) -> None:
        record = self.records[tenant_id]
        self.records[tenant_id] = replace(record, progress=record.progress | {step: detail})

    def delete_rows(self, tenant_id: str) -> dict[str, int]:
        return {"keys": 1}

    def finish_deletion(self, tenant_id: str, now: datetime) -> None:
        self.records[tenant_id] = replace(self.records[tenant_id], status="deleted", status_since=now)


class FakeProvisioning:
    """The part of ``Provisioning`` that creations and deletions use; ``broken`` tenants cannot be resumed."""

    def __init__(self, *tenants: Tenant) -> None:
        self._tenants = {tenant.id: tenant for tenant in tenants}
        self.resumed, self.dropped, self.broken = list[str](), list[str](), set[str]()

    def tenant(self, tenant_id: str) -> Tenant:
        return self._tenants[tenant_id]

    def resume(self, tenant_id: str) -> None:
        if tenant_id in self.broken:
            raise RuntimeError(tenant_id)
        self.resumed.append(tenant_id)

    def drop_database(self, tenant_id: str) -> dict[str, Any]:
        self.dropped.append(tenant_id)
        return {"databases": 1}
