"""A login role per tenant database: what the pipeline and the API may do there, and in no other database.

Everything here runs with the administrator's credentials, and every part of it may be repeated.
"""

from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

from deeplens.database.connections import connect, translated
from deeplens.database.credentials import database_url, derived, password_of
from deeplens.database.migrate import ADVISORY_LOCK
from deeplens.errors import DeepLensError

CONNECTIONS = 100
"""Of one role at a time: more than its window of images needs, less than would shut out the other tenants."""
ATTRIBUTES = ("SUPERUSER", "CREATEDB", "CREATEROLE", "REPLICATION", "BYPASSRLS")
GRANTS = (
    "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
    "GRANT CONNECT ON DATABASE {database} TO {role}",
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    "GRANT USAGE ON SCHEMA public TO {role}",
    "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    # What a later migration makes is open to the functions from its first moment.
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO {role}",
)
NARROWER = {
    "alembic_version": "REVOKE ALL ON {table} FROM {role}",
    # Appended to only; an image's entries go with it, by its foreign key.
    "image_events": "REVOKE UPDATE, DELETE ON {table} FROM {role}",
}
TAKEN_BACK = (
    "REVOKE ALL ON DATABASE {database} FROM {role}",
    "REVOKE ALL ON SCHEMA public FROM {role}",
    "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}",
    "REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON SEQUENCES FROM {role}",
)


def admit(url: str, role: str, key: str) -> None:
    """Give a database its role, and the role its password and privileges.

    One transaction under the migrations' lock: two runs at once make one role, one that was interrupted made none.

    Parameters
    ----------
    url : of the tenant's database, with the administrator's credentials.

    Raises
    ------
    ValueError
        The role is the administrator's own.
    DatabaseUnavailable
    """
    with translated(), psycopg.connect(url, connect_timeout=5) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        if role == connection.info.user:
            raise ValueError(f"{role} administers this server and can be no tenant's role")
        _ensure_role(connection, role, key)
        names = {"role": sql.Identifier(role), "database": sql.Identifier(connection.info.dbname)}
        for statement in GRANTS:
            connection.execute(sql.SQL(statement).format(**names))
        for table, statement in NARROWER.items():
            if connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"public.{table}"]).fetchone() == (True,):
                connection.execute(sql.SQL(statement).format(table=sql.Identifier("public", table), **names))
        connection.execute(sql.SQL("COMMENT ON ROLE {role} IS {mark}").format(mark=mark_of(role, key), **names))


def mark_of(role: str, key: str) -> str:
    """What ``admit`` leaves at a role: another key or other privileges give another mark."""
    return derived(f"mark/{role}/{CONNECTIONS}{GRANTS}{sorted(NARROWER.items())}", key)[:32]


def marks(server_url: str) -> dict[str, str]:
    """Roles of a server and what ``admit`` left at them."""
    with connect(server_url) as connection:
        found = connection.execute("SELECT rolname, shobj_description(oid, 'pg_authid') AS mark FROM pg_roles")
        return {row["rolname"]: row["mark"] or "" for row in found}


def seal(server_url: str) -> None:
    """Shut tenants' roles out of a server's own databases: that of its URL, ``postgres`` and ``template1``.

    Raises
    ------
    DeepLensError
        The database of the URL stays open, as somebody else owns it.
    DatabaseUnavailable
    """
    with translated(), connect(server_url) as connection:
        for name in _open_to_all(connection):
            # Where a provider owns these, they hold nothing of ours.
            with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
                connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        if connection.info.dbname in _open_to_all(connection):
            name = connection.info.dbname
            raise DeepLensError(f"every role may connect to {name}: its owner has to REVOKE CONNECT from PUBLIC")


def drop_role(server_url: str, role: str) -> None:
    """End a role's sessions and remove it with all its privileges; its database may be gone or still be there."""
    with translated(), connect(server_url) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
            return
        name = sql.Identifier(role)
        connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(name))
        # Who administers roles without being a superuser may end the sessions of those that it is a member of.
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name))
        connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", [role])
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [role]).fetchone():
            _take_back(database_url(server_url, role), role)
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(name))


def _ensure_role(connection: psycopg.Connection[Any], role: str, key: str) -> None:
    name = sql.Identifier(role)
    held = f"SELECT {', '.join(f'rol{_column(one)}' for one in ATTRIBUTES)} FROM pg_roles WHERE rolname = %s"  # noqa: S608
    known = connection.execute(held.encode(), [role]).fetchone()
    if known is None:
        refused = sql.SQL(" ").join(sql.SQL(f"NO{one}") for one in ATTRIBUTES)
        connection.execute(sql.SQL("CREATE ROLE {} {} NOINHERIT").format(name, refused))
    for attribute, has in zip(ATTRIBUTES, known or (), strict=False):
        # Only where it has to be: to mention SUPERUSER at all takes a superuser.
        if has:
            connection.execute(sql.SQL("ALTER ROLE {} {}").format(name, sql.SQL(f"NO{attribute}")))
    connection.execute(
        sql.SQL("ALTER ROLE {} LOGIN CONNECTION LIMIT {} PASSWORD {}").format(
            name, sql.Literal(CONNECTIONS), sql.Literal(_verifier(connection, role, key))
        )
    )


def _column(attribute: str) -> str:
    """``pg_roles`` names its columns after what they meant first."""
    return {"SUPERUSER": "super"}.get(attribute, attribute.lower())


def _verifier(connection: psycopg.Connection[Any], role: str, key: str) -> str:
    """What the server checks the password with. The password itself would stand in its log and its statistics."""
    password = password_of(role, key).encode()
    return connection.pgconn.encrypt_password(password, role.encode(), b"scram-sha-256").decode()


def _take_back(url: str, role: str) -> None:
    with psycopg.connect(url, connect_timeout=5) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        for statement in TAKEN_BACK:
            connection.execute(
                sql.SQL(statement).format(role=sql.Identifier(role), database=sql.Identifier(connection.info.dbname))
            )


def _open_to_all(connection: psycopg.Connection[dict[str, Any]]) -> list[str]:
    found = connection.execute(
        "SELECT datname FROM pg_database WHERE (datname = current_database() OR datname IN ('postgres', 'template1')) "
        "AND has_database_privilege('public', oid, 'CONNECT') ORDER BY datname"
    )
    return [row["datname"] for row in found]
