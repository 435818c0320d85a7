"""The pipeline's functions pay for psycopg only, never for SQLAlchemy or Alembic."""

import subprocess
import sys


def test_the_hot_paths_do_not_import_the_migration_tools() -> None:
    hot = [
        "access.api_keys",
        "database.connections",
        "database.values",
        "failures.postgres",
        "images.postgres",
        "images.postgres_pending",
        "tenants.directory",
        "usage.postgres",
    ]
    program = f"import sys, {', '.join(f'deeplens.{name}' for name in hot)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "psycopg" in loaded
    assert loaded.isdisjoint({"sqlalchemy", "alembic"})
