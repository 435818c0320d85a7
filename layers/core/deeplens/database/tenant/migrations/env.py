"""Alembic's entry: writes the SQL of this tree's migrations."""

from deeplens.database.migrate import write_sql

write_sql()
