"""Migration to the newest schema: two trees of Alembic migrations, one for the platform, one for tenants.

Alembic keeps its state in module globals and cannot migrate two databases at a time. It therefore only writes the
SQL, once per starting revision; psycopg runs it, in one transaction per database, from any number of threads.
"""

import threading
from functools import cache
from io import StringIO
from typing import Any, Literal

import psycopg
from alembic import command, context
from alembic.config import Config
from alembic.script import ScriptDirectory

from deeplens.database.connections import encryption, translated
from deeplens.errors import DeepLensError

type Tree = Literal["platform", "tenant"]

ADVISORY_LOCK = 7_301_994
"""Two deployments never migrate one database at the same time."""
_alembic = threading.RLock()


class UnknownRevision(DeepLensError):
    """No migration leads from the revision of a database to the newest one."""


def upgrade(database_url: str, tree: Tree) -> str:
    """Bring a database to the newest revision, which is returned; safe to repeat and to interrupt.

    Raises
    ------
    DatabaseUnavailable
    UnknownRevision
    """
    with translated(), psycopg.connect(database_url, connect_timeout=5, **encryption()) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        current = revision(connection)
        if current not in (None, *revisions(tree)):
            raise UnknownRevision(
                f"The {tree} database is at revision {current}; this version of DeepLens continues from "
                f"{revisions(tree)[-1]}. Migrate it first with the version of DeepLens that follows its own."
            )
        if current != head(tree):
            connection.execute(script(tree, current or "base"))
    return head(tree)


def revision(connection: psycopg.Connection[Any]) -> str | None:
    """The revision that the database records; None when it is empty."""
    if connection.execute("SELECT 1 FROM pg_tables WHERE tablename = 'alembic_version'").fetchone() is None:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def head(tree: Tree) -> str:
    """The newest revision of a tree."""
    return revisions(tree)[0]


def revisions(tree: Tree) -> tuple[str, ...]:
    """All revisions of a tree, the newest first."""
    with _alembic:
        return _revisions(tree)


@cache
def _revisions(tree: Tree) -> tuple[str, ...]:
    return tuple(script.revision for script in ScriptDirectory.from_config(_config(tree)).walk_revisions())


def script(tree: Tree, start: str) -> bytes:
    """The SQL that leads from ``start`` (``"base"`` for an empty database) to the newest revision."""
    with _alembic:
        return _script(tree, start)


@cache
def _script(tree: Tree, start: str) -> bytes:
    config = _config(tree)
    config.output_buffer = StringIO()
    command.upgrade(config, f"{start}:head", sql=True)
    return config.output_buffer.getvalue().encode()


def _config(tree: Tree) -> Config:
    config = Config()
    config.set_main_option("script_location", f"deeplens.database.{tree}:migrations")
    config.set_main_option("path_separator", "os")
    return config


def write_sql() -> None:
    """Write the SQL of a tree; called by both ``env.py``."""
    # ``upgrade`` holds the transaction, so the script has none of its own; named parameters leave % alone.
    context.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
        literal_binds=True,
        transactional_ddl=False,
    )
    context.run_migrations()
