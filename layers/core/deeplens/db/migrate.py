"""Moving a database to the newest schema: two trees of Alembic migrations, one for the platform, one for tenants."""

from functools import cache
from typing import Literal

from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine, text
from sqlalchemy.pool import NullPool

type Tree = Literal["platform", "tenant"]

LOCK = 7_301_994
"""Advisory lock: two deployments never migrate one database at the same time."""


def config(tree: Tree) -> Config:
    made = Config()
    made.set_main_option("script_location", f"deeplens.db.{tree}:migrations")
    made.set_main_option("path_separator", "os")
    return made


@cache
def head(tree: Tree) -> str:
    """The newest revision of a tree."""
    return ScriptDirectory.from_config(config(tree)).get_current_head() or ""


def upgrade(database_url: str, tree: Tree) -> str:
    """Bring a database to the newest revision, which is returned; safe to repeat and to interrupt."""
    engine = create_engine(sqlalchemy_url(database_url), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
        connection.commit()
        if revision(connection) != head(tree):
            made = config(tree)
            made.attributes["connection"] = connection
            command.upgrade(made, "head")
            connection.commit()
    return head(tree)


def revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def run_in_context(metadata: MetaData) -> None:
    """What both ``env.py`` do."""
    context.configure(
        connection=context.config.attributes["connection"], target_metadata=metadata, include_schemas=True
    )
    with context.begin_transaction():
        context.run_migrations()


def sqlalchemy_url(database_url: str) -> str:
    return database_url.replace("postgresql://", "postgresql+psycopg://", 1)
