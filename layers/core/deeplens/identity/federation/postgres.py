"""Providers, domains, pending sign-ins and linked accounts in the schema ``nextgen_identity``, of revision 0020."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from deeplens.access.api_keys import digest
from deeplens.database.connections import PlatformAdapter, Values
from deeplens.database.rows import columns_of, insert_into, parameters_of, record_of
from deeplens.database.values import as_text
from deeplens.identity.federation.model import (
    REQUEST_LIFE,
    Domain,
    DomainTaken,
    IdentityProvider,
    PendingSignIn,
    VerifiedDomain,
    new_challenge,
)
from deeplens.identity.model import Account

NOT_MIGRATED = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)
PROVIDER, ACCOUNT = columns_of(IdentityProvider, "p."), columns_of(Account, "u.")
OF_TENANT = f"SELECT {PROVIDER} FROM nextgen_identity.identity_providers p WHERE p.tenant_id = %s"  # noqa: S608
USABLE = """
FROM nextgen_identity.identity_providers p
JOIN nextgen_identity.federated_domains d ON d.tenant_id = p.tenant_id AND d.verified_at IS NOT NULL
JOIN tenants t ON t.id = p.tenant_id AND t.status = 'active'
"""
OF_DOMAIN = f"SELECT {PROVIDER} {USABLE} WHERE d.domain = %s"
SAVE = f"""
{insert_into("nextgen_identity.identity_providers", IdentityProvider)}
ON CONFLICT (tenant_id) DO UPDATE SET issuer = excluded.issuer, client_id = excluded.client_id,
    email_claim = excluded.email_claim, name_claim = excluded.name_claim, roles_claim = excluded.roles_claim,
    role_values = excluded.role_values, default_role = excluded.default_role,
    federation_only = excluded.federation_only
"""
DROP_DOMAINS = "DELETE FROM nextgen_identity.federated_domains WHERE tenant_id = %s AND domain <> ALL(%s)"
ADD_DOMAIN = """
INSERT INTO nextgen_identity.federated_domains (tenant_id, domain, challenge) VALUES (%s, %s, %s)
ON CONFLICT (tenant_id, domain) DO NOTHING
"""
FOREIGN_ACCOUNT = """
SELECT 1 FROM nextgen_identity.users WHERE split_part(email, '@', 2) = %s AND tenant_id IS DISTINCT FROM %s LIMIT 1
"""
VERIFY = "UPDATE nextgen_identity.federated_domains SET verified_at = %s WHERE tenant_id = %s AND domain = %s"
CLAIM_DOMAINS = f"""
UPDATE nextgen_identity.federated_domains SET checked_at = %(now)s WHERE (tenant_id, domain) IN (
    SELECT tenant_id, domain FROM nextgen_identity.federated_domains
    WHERE verified_at IS NOT NULL AND coalesce(checked_at, verified_at) <= %(before)s
    ORDER BY coalesce(checked_at, verified_at) LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING tenant_id, missing_since, {columns_of(Domain)}
"""  # noqa: S608
MARK_MISSING = """
UPDATE nextgen_identity.federated_domains SET missing_since = %s WHERE tenant_id = %s AND domain = %s
"""
END_VERIFICATION = """
UPDATE nextgen_identity.federated_domains SET verified_at = NULL, missing_since = NULL
WHERE tenant_id = %s AND domain = %s AND missing_since <= %s
"""
BEGIN = """
WITH expired AS (DELETE FROM nextgen_identity.federated_sign_ins WHERE expires_at < %(now)s)
INSERT INTO nextgen_identity.federated_sign_ins (state_sha256, tenant_id, browser_sha256, goal, expires_at)
VALUES (%(state)s, %(tenant_id)s, %(browser_sha256)s, %(goal)s, %(expires_at)s)
"""
TAKE = """
DELETE FROM nextgen_identity.federated_sign_ins WHERE state_sha256 = %s
RETURNING tenant_id, browser_sha256, goal, expires_at
"""
LINKED = f"""
SELECT {ACCOUNT} FROM nextgen_identity.federated_accounts f JOIN nextgen_identity.users u ON u.id = f.user_id
WHERE f.tenant_id = %s AND f.issuer = %s AND f.subject = %s
"""  # noqa: S608
AT_ADDRESS = f"SELECT {ACCOUNT} FROM nextgen_identity.users u WHERE u.email = %s"  # noqa: S608
LINK = """
INSERT INTO nextgen_identity.federated_accounts (tenant_id, issuer, subject, user_id) VALUES (%s, %s, %s, %s)
ON CONFLICT (tenant_id, issuer, subject) DO NOTHING
"""


class PostgresIdentityProviders(PlatformAdapter):
    """``IdentityProviders``. Before the tables exist, no tenant has a provider."""

    def of_tenant(self, tenant_id: str) -> IdentityProvider | None:
        row = self._row(OF_TENANT, [tenant_id])
        return record_of(IdentityProvider, row) if row else None

    def of_domain(self, domain: str) -> IdentityProvider | None:
        row = self._row_if_migrated(OF_DOMAIN, [as_text(domain)])
        return record_of(IdentityProvider, row) if row else None

    def organisation(self, tenant_id: str) -> str | None:
        row = self._row_if_migrated(f"SELECT t.name {USABLE} WHERE t.id = %s LIMIT 1", [tenant_id])
        return row["name"] if row else None

    def exist(self) -> bool:
        return self._row_if_migrated(f"SELECT 1 {USABLE} LIMIT 1", []) is not None

    def save(self, provider: IdentityProvider, domains: Sequence[str]) -> None:
        with self._platform() as connection, connection.transaction():
            values = parameters_of(provider) | {"role_values": Jsonb(dict(provider.role_values))}
            connection.execute(SAVE.encode(), values)
            connection.execute(DROP_DOMAINS, [provider.tenant_id, list(domains)])
            for domain in domains:
                connection.execute(ADD_DOMAIN, [provider.tenant_id, domain, new_challenge()])

    def delete(self, tenant_id: str) -> bool:
        return self._execute("DELETE FROM nextgen_identity.identity_providers WHERE tenant_id = %s", [tenant_id]) == 1

    def domains(self, tenant_id: str) -> list[Domain]:
        statement = (
            f"SELECT {columns_of(Domain)} FROM nextgen_identity.federated_domains WHERE tenant_id = %s ORDER BY domain"  # noqa: S608
        )
        return [record_of(Domain, row) for row in self._rows(statement, [tenant_id])]

    def verify(self, tenant_id: str, domain: str, now: datetime) -> None:
        if self._row(FOREIGN_ACCOUNT, [domain, tenant_id]) is not None:
            raise DomainTaken
        try:
            self._execute(VERIFY, [now, tenant_id, domain])
        except psycopg.errors.UniqueViolation as error:
            raise DomainTaken from error
        self.mark_missing(tenant_id, domain, None)

    def claim_domains(self, now: datetime, checked_before: datetime, limit: int) -> list[VerifiedDomain]:
        try:
            rows = self._rows(CLAIM_DOMAINS, {"now": now, "before": checked_before, "limit": limit})
        except NOT_MIGRATED:
            return []
        return [VerifiedDomain(row["tenant_id"], record_of(Domain, row), row["missing_since"]) for row in rows]

    def mark_missing(self, tenant_id: str, domain: str, since: datetime | None) -> None:
        with suppress(psycopg.errors.UndefinedColumn):
            self._execute(MARK_MISSING, [since, tenant_id, domain])

    def end_verification(self, tenant_id: str, domain: str, missing_before: datetime) -> bool:
        return self._execute(END_VERIFICATION, [tenant_id, domain, missing_before]) == 1

    def begin(self, state: str, pending: PendingSignIn, now: datetime) -> None:
        times = {"now": now, "expires_at": now + REQUEST_LIFE}
        self._execute(BEGIN, parameters_of(pending) | times | {"state": digest(state)})

    def take(self, state: str, now: datetime) -> PendingSignIn | None:
        row = self._row(TAKE, [digest(state)])
        return record_of(PendingSignIn, row) if row and row["expires_at"] > now else None

    def account(self, tenant_id: str, issuer: str, subject: str) -> Account | None:
        row = self._row(LINKED, [tenant_id, issuer, as_text(subject)])
        return record_of(Account, row) if row else None

    def account_at(self, email: str) -> Account | None:
        row = self._row(AT_ADDRESS, [as_text(email)])
        return record_of(Account, row) if row else None

    def link(self, tenant_id: str, issuer: str, subject: str, user_id: str) -> None:
        self._execute(LINK, [tenant_id, issuer, as_text(subject), user_id])

    def _row_if_migrated(self, statement: str, values: Values) -> dict[str, Any] | None:
        try:
            return self._row(statement, values)
        except psycopg.errors.UndefinedTable:
            return None
