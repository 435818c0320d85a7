"""PostgreSQL: a platform database and one database per tenant.

Schemas are SQLAlchemy models migrated by Alembic (``platform/``, ``tenant/``); the hot paths are plain SQL on psycopg.
"""
