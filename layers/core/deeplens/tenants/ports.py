"""The port to the directory of tenants."""

from typing import Protocol

from deeplens.tenants.model import Tenant


class TenantDirectory(Protocol):
    def get(self, tenant_id: str, *, fresh: bool = False) -> Tenant:
        """The tenant's row, at most 10 s old, or read now. ``TenantNotFound`` when unknown or deleted;
        ``DatabaseUnavailable``.
        """
