"""Alembic's entry: runs the migrations of this tree on the connection it is given."""

from deeplens.db.migrate import run_in_context
from deeplens.db.platform.models import Base

run_in_context(Base.metadata)
