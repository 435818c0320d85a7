"""The roles with which functions use the platform database: rows of some tables, and nothing else.

They own nothing, so none can alter or drop a table, create a database, or open a tenant's. Each migration grants them
anew: a table of a later migration is open to the roles that have their whole schema.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql

from deeplens.database.connections import encryption, translated
from deeplens.database.migrate import ADVISORY_LOCK
from deeplens.database.roles import ensure_role

ROWS = "SELECT, INSERT, UPDATE, DELETE"
WORK = (
    f"GRANT {ROWS} ON ALL TABLES IN SCHEMA public TO {{role}}",
    # Credentials, what administrators did, and where a tenant's data is.
    "REVOKE ALL ON alembic_version, audit_log, tenant_api_keys, tenants, models FROM {role}",
    "GRANT SELECT ON tenants, models TO {role}",
    "GRANT UPDATE (model_name, model_version, model_dimensions, target_name, target_version, target_dimensions, "
    "notified) ON tenants TO {role}",
)
IDENTITY = (
    "GRANT USAGE ON SCHEMA nextgen_identity TO {role}",
    f"GRANT {ROWS} ON ALL TABLES IN SCHEMA nextgen_identity TO {{role}}",
)
AUDIT = (
    "GRANT SELECT, INSERT ON audit_log TO {role}",
    # It deletes what is older than the retention, and nothing else does.
    "GRANT EXECUTE ON FUNCTION purge_audit_log TO {role}",
)
GRANTS: Mapping[str, tuple[str, ...]] = {
    # They open files of strangers.
    "deeplens_decoders": (
        "GRANT SELECT ON tenants, models, tenant_stores, request_counters TO {role}",
        f"GRANT {ROWS} ON pending_images, pending_videos TO {{role}}",
        # The trigger of pending_images notes there that a tenant changes.
        "GRANT SELECT, INSERT, UPDATE ON tenant_sweeps TO {role}",
    ),
    "deeplens_pipeline": WORK,
    # It checks API keys and tokens.
    "deeplens_search": (
        *WORK,
        "GRANT SELECT, UPDATE (last_used_at) ON tenant_api_keys TO {role}",
        "GRANT USAGE ON SCHEMA nextgen_identity TO {role}",
        "GRANT SELECT ON nextgen_identity.signing_keys TO {role}",
        "GRANT SELECT (id, status) ON nextgen_identity.clients TO {role}",
    ),
    "deeplens_identity": (
        *IDENTITY,
        "GRANT SELECT (id, name, status, settings, created_at, require_second_factor) ON tenants TO {role}",
        "GRANT INSERT ON audit_log TO {role}",
    ),
    # It administers tenants and people; the schema stays the administrator's.
    "deeplens_operations": (
        f"GRANT {ROWS} ON ALL TABLES IN SCHEMA public TO {{role}}",
        "REVOKE ALL ON alembic_version, audit_log FROM {role}",
        *IDENTITY,
        *AUDIT,
    ),
}
"""Statements by role, after it has lost every privilege."""
FIRST = (
    "REVOKE ALL ON ALL TABLES IN SCHEMA public, nextgen_identity FROM {role}",
    "REVOKE ALL ON SCHEMA public, nextgen_identity FROM {role}",
    "GRANT CONNECT ON DATABASE {database} TO {role}",
    "GRANT USAGE ON SCHEMA public TO {role}",
)


def apply(url: str, role_urls: Iterable[str]) -> None:
    """Create the roles with the passwords of ``role_urls``, and grant them what they may; safe to repeat.

    Parameters
    ----------
    url : the platform database, with the administrator's credentials.

    Raises
    ------
    ValueError
        A URL names no role of ``GRANTS``, or has no password.
    DatabaseUnavailable
    """
    credentials = [credentials_of(role_url) for role_url in role_urls]
    with translated(), psycopg.connect(url, connect_timeout=5, **encryption()) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        for role, password in credentials:
            _grant(connection, role, password)


def credentials_of(role_url: str) -> tuple[str, str]:
    """Role and password of a URL. Raises ``ValueError`` unless it names a role of ``GRANTS`` and a password."""
    split = urlsplit(role_url)
    role, password = unquote(split.username or ""), unquote(split.password or "")
    if role not in GRANTS or not password:
        raise ValueError(f"{role or 'no role'} with a password is none of {', '.join(GRANTS)}: check the roles' URLs")
    return role, password


def _grant(connection: psycopg.Connection[Any], role: str, password: str) -> None:
    ensure_role(connection, role, password)
    names = {"role": sql.Identifier(role), "database": sql.Identifier(connection.info.dbname)}
    for statement in (*FIRST, *GRANTS[role]):
        connection.execute(sql.SQL(statement).format(**names))
