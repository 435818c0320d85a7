"""Alembic's entry: writes the SQL of this tree's migrations."""

from deeplens.db.migrate import write_sql

write_sql()
