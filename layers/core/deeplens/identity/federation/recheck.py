"""Once a day: whether a tenant still controls the domains that its identity provider signs in."""

from collections.abc import Iterator
from datetime import timedelta
from secrets import token_hex
from typing import ClassVar

from deeplens.access.model import AuditEntry, Principal
from deeplens.access.ports import AuditLog
from deeplens.common.event import Event
from deeplens.common.ports import Clock
from deeplens.common.resolve import Lazy
from deeplens.identity.federation.model import VerifiedDomain
from deeplens.identity.federation.ports import IdentityProviders, TxtRecords
from deeplens.identity.model import Account
from deeplens.identity.ports import Users
from deeplens.identity.recovery.model import DEFAULT_LANGUAGE, CredentialChange
from deeplens.identity.recovery.notify import NotifyCredentialChange
from deeplens.telemetry.security import security_event

RECHECK_INTERVAL = timedelta(days=1)
GRACE = timedelta(days=7)
"""How long a TXT record may be missing: DNS fails for hours, and is moved within days."""
USERS_PER_PAGE = 200


class RecheckDomains:
    """Look for the TXT records of verified domains again. Emits nothing.

    A domain whose record is missing for ``GRACE`` is no longer verified: its provider signs in nobody from then on,
    until the tenant verifies it again. The tenant's administrators are told when the record is first missed and when
    the domain ends, which the audit log records.
    """

    name: ClassVar = "domains"
    batch_size: ClassVar = 5

    def __init__(
        self,
        providers: IdentityProviders,
        records: Lazy[TxtRecords],
        users: Users,
        notify: NotifyCredentialChange,
        audit: AuditLog,
        clock: Clock,
    ) -> None:
        self._providers, self._records, self._users = providers, records, users
        self._notify, self._audit, self._clock = notify, audit, clock

    def __call__(self) -> list[Event]:
        now = self._clock.now()
        for domain in self._providers.claim_domains(now, now - RECHECK_INTERVAL, self.batch_size):
            self._check(domain)
        return []

    def _check(self, domain: VerifiedDomain) -> None:
        now = self._clock.now()
        if domain.record.txt_value in self._records().lookup(domain.record.txt_name):
            if domain.missing_since is not None:
                self._providers.mark_missing(domain.tenant_id, domain.record.domain, None)
        elif domain.missing_since is None:
            # A crash between the two tells them again a day later.
            self._tell(domain, "domain-missing")
            self._providers.mark_missing(domain.tenant_id, domain.record.domain, now)
        elif now - domain.missing_since >= GRACE:
            self._end(domain)

    def _end(self, domain: VerifiedDomain) -> None:
        name = domain.record.domain
        schedule = Principal(None, "schedule", frozenset())
        entry = AuditEntry(schedule, domain.tenant_id, "end domain verification", name, None, token_hex(16))
        self._audit.append(entry, "begun")
        ended = self._providers.end_verification(domain.tenant_id, name, self._clock.now() - GRACE)
        self._audit.append(entry, "done" if ended else "verified meanwhile")
        if ended:
            self._tell(domain, "domain-ended")

    def _tell(self, domain: VerifiedDomain, change: CredentialChange) -> None:
        security_event("domain_unverified", tenant_id=domain.tenant_id, domain=domain.record.domain, change=change)
        for account in self._administrators(domain.tenant_id):
            self._notify(account, change, DEFAULT_LANGUAGE)

    def _administrators(self, tenant_id: str) -> Iterator[Account]:
        after: str | None = ""
        while after is not None:
            page = self._users.of_owner(tenant_id, after, USERS_PER_PAGE)
            yield from (user for user in page if user.status == "active" and "tenant_admin" in user.roles)
            after = page[-1].email if len(page) == USERS_PER_PAGE else None
