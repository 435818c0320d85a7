"""The ports of access control: credentials, the counters of requests and the audit log."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NewType, Protocol

from deeplens.access.model import AuditEntry, Principal
from deeplens.access.schemas import AuditView, KeyView
from deeplens.access.scopes import READ, WRITE


class AccessTokens(Protocol):
    def authenticate(self, presented: str, api: str) -> Principal | None:
        """The principal of an access token of this platform that may be used at ``api``; None for an invalid one."""


class ActiveClients(Protocol):
    def is_active(self, client_id: str) -> bool:
        """Whether an OAuth client exists and is not disabled. Raises ``DatabaseUnavailable``."""


class SecondFactorRequirements(Protocol):
    def expects_second_factor(self, user_id: str) -> bool:
        """Whether a user has a second factor, or has to have one. Raises ``DatabaseUnavailable``."""


class ApiKeys(Protocol):
    """API keys, compared by SHA-256 and never stored. Every method raises ``DatabaseUnavailable``."""

    def authenticate(self, presented: str) -> Principal | None:
        """The principal of an API key; None for an invalid one."""

    def create(
        self,
        tenant_id: str | None,
        name: str,
        scopes: Iterable[str] = (READ, WRITE),
        expires_at: datetime | None = None,
    ) -> str:
        """Store a new key and return it; it cannot be read again. A key without a tenant is an operator's.

        Raises
        ------
        ValueError
            A scope is unknown.
        TenantNotFound
        """

    def of_tenant(self, tenant_id: str, after: str, limit: int) -> list[KeyView]:
        """Live keys, the oldest first: at most ``limit`` after the one with the prefix ``after``, or from the start."""

    def find(self, tenant_id: str, prefix: str) -> KeyView:
        """A key, live or not. Raises ``KeyError`` when the tenant has no such key."""

    def rotate(self, tenant_id: str, prefix: str, ends: datetime) -> str | None:
        """Create a copy of a key, which expires at ``ends``; None when the tenant has no such live key."""

    def revoke(self, prefix: str, tenant_id: str | None = None) -> bool:
        """Revoke a key, of that tenant if one is given. False when there is no such live key.

        Takes effect everywhere within ten seconds.
        """


class RequestCounters(Protocol):
    """Counts per tenant and minute. Every method raises ``DatabaseUnavailable``."""

    def count(self, tenant_id: str, now: datetime) -> int:
        """Count one request; returns the tenant's requests in this minute, this one included."""

    def add(self, tenant_id: str, now: datetime, *, searches: int = 0, egress_bytes: int = 0) -> None:
        """Add searches and egress to the tenant's minute."""


AuditRetention = NewType("AuditRetention", timedelta)
"""Age at which entries of the audit log are purged."""


class AuditLog(Protocol):
    """The append-only log of writes. Every method raises ``DatabaseUnavailable``."""

    def append(self, entry: AuditEntry, outcome: str) -> None:
        """Record ``begun`` before a write, and its outcome afterwards."""

    def page(self, tenant_id: str | None, before: int, limit: int) -> list[AuditView]:
        """At most ``limit`` entries with a lower id than ``before``, newest first; of one tenant, or of all."""

    def purge(self, kept: timedelta, limit: int) -> int:
        """Delete at most ``limit`` entries that are older than ``kept``, and record that; returns how many.

        Once a day: nothing is deleted while no entry is older by a day. An entry of the last 90 days never is.
        """
