"""The ports to tenants' rows. Every method raises ``DatabaseUnavailable``."""

from datetime import datetime
from typing import Any, Protocol

from deeplens.tenants.limits import ResourceLimits
from deeplens.tenants.model import DuplicatePolicy, Tenant, TenantRecord, TenantStatus


class TenantDirectory(Protocol):
    def get(self, tenant_id: str, *, fresh: bool = False) -> Tenant:
        """The tenant's row, at most 10 s old, or read now. Raises ``TenantNotFound`` when unknown or deleted."""


class TenantRecords(Protocol):
    """Tenants in every status, for operators and provisioning. Every process sees a change within ten seconds."""

    def find(self, tenant_id: str) -> TenantRecord | None: ...

    def page(self, after: str, status: str | None, limit: int) -> list[TenantRecord]:
        """Up to ``limit`` tenants behind ``after``, sorted by id."""

    def change(self, tenant_id: str, name: str | None, settings: dict[str, Any] | None) -> None:
        """Replace what is not None."""

    def change_video(self, tenant_id: str, changes: dict[str, Any]) -> None:
        """Change some of a tenant's ``VideoSettings``, by name, for videos that are split from then on."""

    def set_limits(self, tenant_id: str, limits: ResourceLimits) -> None:
        """Replace a tenant's own limits; what is stored already stays.

        Raises
        ------
        ValueError
            A limit is negative or not a whole number.
        TenantNotFound
        """

    def set_duplicates(self, tenant_id: str, policy: DuplicatePolicy) -> None:
        """Replace a tenant's policy about duplicates. Raises ``TenantNotFound``."""

    def change_status(self, tenant_id: str, status: TenantStatus, now: datetime, *before: TenantStatus) -> bool:
        """Change the status. Returns False unless it was one of ``before``."""

    def record_step(self, tenant_id: str, step: str, detail: Any) -> None:
        """Record a completed step of the creation or deletion."""

    def delete_rows(self, tenant_id: str) -> dict[str, int]:
        """Delete the tenant's rows in all platform tables and clear its own; returns the number of rows by kind."""

    def finish_deletion(self, tenant_id: str, now: datetime) -> None:
        """Keep the row as a receipt: its steps, and when the deletion was complete."""

    def unsettled(self, since: datetime, limit: int) -> list[str]:
        """Tenants whose creation or deletion began before ``since`` and has not ended, the oldest first."""
