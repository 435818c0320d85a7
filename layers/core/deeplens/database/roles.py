"""The login role of a tenant database: its privileges there, and none in any other database.

All functions run with the administrator's credentials, and may be repeated.
"""

from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

from deeplens.database.connections import connect, encryption, translated
from deeplens.database.credentials import database_url, derived, password_of
from deeplens.database.migrate import ADVISORY_LOCK
from deeplens.errors import DeepLensError

CONNECTION_LIMIT = 100
"""Per role: more than its window of images needs, few enough to leave connections for other tenants."""
SESSION_MILLISECONDS = {
    "statement_timeout": 20_000,
    "lock_timeout": 10_000,
    "idle_in_transaction_session_timeout": 30_000,
    # A frozen environment cannot close its connections.
    "idle_session_timeout": 600_000,
}
"""Settings of every role's sessions. They belong to the role, as proxies refuse them as options of a connection."""
ATTRIBUTES = ("SUPERUSER", "CREATEDB", "CREATEROLE", "REPLICATION", "BYPASSRLS")
GRANTS = (
    "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
    "GRANT CONNECT ON DATABASE {database} TO {role}",
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    "GRANT USAGE ON SCHEMA public TO {role}",
    "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    # Tables of later migrations are accessible at once.
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO {role}",
)
RESTRICTIONS = {
    "alembic_version": "REVOKE ALL ON {table} FROM {role}",
    # Appended to only; an image's entries go with it, by its foreign key.
    "image_events": "REVOKE UPDATE, DELETE ON {table} FROM {role}",
}


def admit(url: str, role: str, key: str) -> None:
    """Create the role of a database, with its password and privileges.

    One transaction under the migrations' lock: concurrent runs create one role, an interrupted run creates none.

    Parameters
    ----------
    url : of the tenant's database, with the administrator's credentials.

    Raises
    ------
    ValueError
        The role is the administrator's own.
    DatabaseUnavailable
    """
    with translated(), psycopg.connect(url, connect_timeout=5, **encryption()) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        if role == connection.info.user:
            raise ValueError(f"{role} administers this server and can be no tenant's role")
        ensure_role(connection, role, password_of(role, key), CONNECTION_LIMIT)
        names = {"role": sql.Identifier(role), "database": sql.Identifier(connection.info.dbname)}
        for statement in GRANTS:
            connection.execute(sql.SQL(statement).format(**names))
        for table, statement in RESTRICTIONS.items():
            if connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"public.{table}"]).fetchone() == (True,):
                connection.execute(sql.SQL(statement).format(table=sql.Identifier("public", table), **names))
        connection.execute(sql.SQL("COMMENT ON ROLE {role} IS {mark}").format(mark=mark_of(role, key), **names))


def mark_of(role: str, key: str) -> str:
    """The mark that ``admit`` leaves at a role; it changes with the key and with the privileges."""
    return derived(f"mark/{role}/{CONNECTION_LIMIT}{SESSION_MILLISECONDS}{GRANTS}{sorted(RESTRICTIONS.items())}", key)[
        :32
    ]


def marks(server_url: str) -> dict[str, str]:
    """The roles of a server and their marks."""
    with connect(server_url) as connection:
        found = connection.execute("SELECT rolname, shobj_description(oid, 'pg_authid') AS mark FROM pg_roles")
        return {row["rolname"]: row["mark"] or "" for row in found}


def seal(server_url: str) -> None:
    """Deny tenants' roles access to the database of the URL, ``postgres`` and ``template1``.

    Raises
    ------
    DeepLensError
        The database of the URL stays open, as another role owns it.
    DatabaseUnavailable
    """
    with translated(), connect(server_url) as connection:
        for name in _open_to_all(connection):
            # Where a provider owns these, they hold no data of DeepLens.
            with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
                connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        if connection.info.dbname in _open_to_all(connection):
            name = connection.info.dbname
            raise DeepLensError(f"every role may connect to {name}: its owner has to REVOKE CONNECT from PUBLIC")


def drop_role(server_url: str, role: str) -> None:
    """End a role's sessions and drop it with all its privileges, whether its database exists or not."""
    with translated(), connect(server_url) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
            return
        name = sql.Identifier(role)
        connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(name))
        # An administrator that is no superuser may end the sessions of roles that it is a member of.
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name))
        connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", [role])
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [role]).fetchone():
            with connect(database_url(server_url, role)) as own, own.transaction():
                own.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
                # It owns nothing there, as it may create nothing: this revokes its privileges.
                own.execute(sql.SQL("DROP OWNED BY {}").format(name))
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(name))


def ensure_role(connection: psycopg.Connection[Any], role: str, password: str, connection_limit: int = -1) -> None:
    """Create a role that may log in and nothing else, or take all else from it; set its password and limits."""
    name = sql.Identifier(role)
    attributes = (
        f"SELECT {', '.join(f'rol{_column(attribute)}' for attribute in ATTRIBUTES)} FROM pg_roles WHERE rolname = %s"  # noqa: S608
    )
    known = connection.execute(attributes.encode(), [role]).fetchone()
    if known is None:
        refused = sql.SQL(" ").join(sql.SQL(f"NO{attribute}") for attribute in ATTRIBUTES)
        connection.execute(sql.SQL("CREATE ROLE {} {} NOINHERIT").format(name, refused))
    for attribute, has in zip(ATTRIBUTES, known or (), strict=False):
        # Only if necessary, as even NOSUPERUSER requires a superuser.
        if has:
            connection.execute(sql.SQL("ALTER ROLE {} {}").format(name, sql.SQL(f"NO{attribute}")))
    connection.execute(
        sql.SQL("ALTER ROLE {} LOGIN CONNECTION LIMIT {} PASSWORD {}").format(
            name, sql.Literal(connection_limit), sql.Literal(_verifier(connection, role, password))
        )
    )
    for setting, milliseconds in SESSION_MILLISECONDS.items():
        statement = sql.SQL("ALTER ROLE {} SET {} = {}")
        connection.execute(statement.format(name, sql.Identifier(setting), sql.Literal(milliseconds)))


def _column(attribute: str) -> str:
    """The column of ``pg_roles``."""
    return {"SUPERUSER": "super"}.get(attribute, attribute.lower())


def _verifier(connection: psycopg.Connection[Any], role: str, password: str) -> str:
    """The SCRAM verifier of the password: the password itself would appear in the server's log and statistics."""
    return connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()


def _open_to_all(connection: psycopg.Connection[dict[str, Any]]) -> list[str]:
    found = connection.execute(
        "SELECT datname FROM pg_database WHERE (datname = current_database() OR datname IN ('postgres', 'template1')) "
        "AND has_database_privilege('public', oid, 'CONNECT') ORDER BY datname"
    )
    return [row["datname"] for row in found]
