"""Describe the schema of a database from PostgreSQL's catalogue."""

from typing import Any

from psycopg import Connection
from psycopg.rows import tuple_row

OURS = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname NOT LIKE 'pg\\_temp%'"
# Each query gives a name and a definition; objects that an extension brings are the extension's.
QUERIES = {
    "schemas": f"SELECT n.nspname, coalesce(n.nspacl::text, '') FROM pg_namespace n WHERE {OURS}",
    "extensions": "SELECT extname, '' FROM pg_extension",
    "tables": f"""
        SELECT n.nspname || '.' || c.relname,
               concat_ws(' ', c.relkind, c.relpersistence, array_to_string(c.reloptions, ','), c.relacl::text,
                         CASE WHEN c.relrowsecurity THEN 'row security' END,
                         CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
                         pg_get_partkeydef(c.oid))
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {OURS}""",
    "columns": f"""
        SELECT n.nspname || '.' || c.relname || '.' || a.attname,
               concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
                         CASE WHEN a.atthasdef THEN 'default ' || pg_get_expr(d.adbin, d.adrelid) END,
                         nullif('identity ' || a.attidentity::text, 'identity '),
                         nullif('generated ' || a.attgenerated::text, 'generated '), a.attacl::text,
                         CASE WHEN a.attcollation <> t.typcollation THEN 'collate ' || l.collname END)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_type t ON t.oid = a.atttypid
             LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             LEFT JOIN pg_collation l ON l.oid = a.attcollation
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped AND {OURS}""",
    "constraints": f"""
        SELECT n.nspname || '.' || coalesce(c.relname, t.typname) || '.' || o.conname, pg_get_constraintdef(o.oid)
        FROM pg_constraint o JOIN pg_namespace n ON n.oid = o.connamespace
             LEFT JOIN pg_class c ON c.oid = o.conrelid LEFT JOIN pg_type t ON t.oid = o.contypid
        WHERE {OURS}""",
    "indexes": f"""
        SELECT n.nspname || '.' || c.relname, pg_get_indexdef(c.oid)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('i', 'I') AND {OURS}""",
    "sequences": f"""
        SELECT n.nspname || '.' || c.relname,
               concat_ws(' ', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle,
                         c.relacl::text)
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {OURS}""",
    "functions": f"""
        SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid) || coalesce(p.proacl::text, '')
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.prokind IN ('f', 'p') AND {OURS}
          AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')""",
    "triggers": f"""
        SELECT n.nspname || '.' || c.relname || '.' || g.tgname, pg_get_triggerdef(g.oid)
        FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT g.tgisinternal AND {OURS}""",
    "enums": f"""
        SELECT n.nspname || '.' || t.typname, string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder)
        FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE {OURS} GROUP BY 1""",
    "policies": """
        SELECT schemaname || '.' || tablename || '.' || policyname,
               concat_ws(' ', permissive, roles::text, cmd, qual, with_check) FROM pg_policies""",
    "default privileges": """
        SELECT concat_ws('.', n.nspname, d.defaclobjtype::text), d.defaclacl::text
        FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace""",
    # A database of an older release continues from the revision that it is at.
    "revision": "SELECT version_num, '' FROM alembic_version",
    "database": "SELECT 'privileges', datacl::text FROM pg_database WHERE datname = current_database()",
}


def schema_of(connection: Connection[Any]) -> dict[str, dict[str, str]]:
    """Every object of a database and its definition, by kind and name; its own role is called ``TENANT``."""
    role = connection.info.dbname
    found = {kind: _rows(connection, query) for kind, query in QUERIES.items()}
    return {
        kind: {name: (definition or "").replace(role, "TENANT") for name, definition in rows}
        for kind, rows in found.items()
    }


def _rows(connection: Connection[Any], query: str) -> list[tuple[str, str | None]]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query.encode()).fetchall()
