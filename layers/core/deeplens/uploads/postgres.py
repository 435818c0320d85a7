"""Uploads that clients write to their stores by themselves: one platform table for all tenants."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from deeplens.database.connections import Connections
from deeplens.database.values import as_jsonb, as_text
from deeplens.tenants.limits import Storage
from deeplens.uploads.model import DirectUpload, Refusal, UploadStatus

GIVEN = (
    "tenant_id, id, file_name, size_bytes, created_at, expires_at, due, sha256, tags, metadata, part_bytes, "
    "multipart_id, status, attempts"
)
COLUMNS = f"{GIVEN}, error_code, error_message, error_retryable, ended_at"
ADD = f"""
INSERT INTO direct_uploads ({GIVEN}) VALUES ({", ".join(f"%({name})s" for name in GIVEN.split(", "))})
ON CONFLICT (tenant_id, id) DO NOTHING
"""  # noqa: S608
FIND = f"SELECT {COLUMNS} FROM direct_uploads WHERE tenant_id = %s AND id = %s"  # noqa: S608
KEEP_MULTIPART = """
UPDATE direct_uploads SET multipart_id = coalesce(multipart_id, %s) WHERE tenant_id = %s AND id = %s
RETURNING multipart_id
"""
CLAIM = """
UPDATE direct_uploads SET claimed_until = %(until)s
WHERE tenant_id = %(tenant)s AND id = %(id)s AND status = 'open'
  AND (claimed_until IS NULL OR claimed_until <= %(now)s)
"""
PUT_OFF = """
UPDATE direct_uploads SET due = %(due)s, claimed_until = NULL, attempts = attempts + %(counted)s,
       error_code = coalesce(%(code)s, error_code), error_message = coalesce(%(message)s, error_message),
       error_retryable = coalesce(%(retryable)s, error_retryable)
WHERE tenant_id = %(tenant)s AND id = %(id)s AND status = 'open'
"""
END = """
UPDATE direct_uploads SET status = %(status)s, ended_at = %(now)s, claimed_until = NULL,
       error_code = %(code)s, error_message = %(message)s, error_retryable = %(retryable)s
WHERE tenant_id = %(tenant)s AND id = %(id)s AND status = 'open'
"""
EXPECT = """
UPDATE direct_uploads SET due = least(due, %s) WHERE tenant_id = %s AND id = %s AND status = 'open'
"""
OVERDUE = f"""
WITH late AS (
    SELECT tenant_id, id FROM direct_uploads WHERE status = 'open' AND due < %(now)s
    ORDER BY due LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE direct_uploads u SET due = %(due)s FROM late WHERE u.tenant_id = late.tenant_id AND u.id = late.id
RETURNING {", ".join("u." + name for name in COLUMNS.split(", "))}
"""  # noqa: S608
RESERVED = """
SELECT count(*) AS images, coalesce(sum(size_bytes), 0)::bigint AS bytes FROM direct_uploads
WHERE tenant_id = %s AND status = 'open'
"""
FORGET = """
DELETE FROM direct_uploads u USING (
    SELECT tenant_id, id FROM direct_uploads WHERE status <> 'open' AND ended_at < %s LIMIT %s) AS old
WHERE u.tenant_id = old.tenant_id AND u.id = old.id
"""
OWNERS = "SELECT storage_uri, id FROM tenants WHERE storage_uri = ANY(%s) AND status <> 'deleted'"


class PostgresDirectUploads:
    """``DirectUploads`` and ``StoreOwners`` on psycopg."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def add(self, upload: DirectUpload) -> DirectUpload:
        values = asdict(upload) | {
            "file_name": as_text(upload.file_name),
            "tags": [as_text(tag) for tag in upload.tags],
            "metadata": as_jsonb(upload.metadata),
        }
        with self._connections.platform() as connection:
            with connection.pipeline():
                connection.execute(ADD, values)
                # A statement of its own: it sees what another connection wrote while the first one waited for it.
                cursor = connection.execute(FIND, [upload.tenant_id, upload.id])
            return _upload(cursor.fetchall()[0])

    def find(self, tenant_id: str, upload_id: str) -> DirectUpload | None:
        with self._connections.platform() as connection:
            row = connection.execute(FIND, [tenant_id, upload_id]).fetchone()
        return _upload(row) if row else None

    def keep_multipart(self, tenant_id: str, upload_id: str, multipart_id: str) -> str:
        with self._connections.platform() as connection:
            rows = connection.execute(KEEP_MULTIPART, [multipart_id, tenant_id, upload_id]).fetchall()
        return str(rows[0]["multipart_id"]) if rows else ""

    def claim(self, tenant_id: str, upload_id: str, now: datetime, until: datetime) -> bool:
        return self._changed(CLAIM, {"tenant": tenant_id, "id": upload_id, "now": now, "until": until})

    def put_off(self, tenant_id: str, upload_id: str, due: datetime, refusal: Refusal | None = None) -> None:
        counted = int(refusal is not None)
        self._changed(PUT_OFF, {"tenant": tenant_id, "id": upload_id, "due": due, "counted": counted} | _error(refusal))

    def end(
        self, tenant_id: str, upload_id: str, status: UploadStatus, now: datetime, refusal: Refusal | None = None
    ) -> None:
        self._changed(END, {"tenant": tenant_id, "id": upload_id, "status": status, "now": now} | _error(refusal))

    def expect(self, tenant_id: str, upload_id: str, due: datetime) -> None:
        self._changed(EXPECT, [due, tenant_id, upload_id])

    def overdue(self, now: datetime, due: datetime, limit: int) -> list[DirectUpload]:
        with self._connections.platform() as connection:
            rows = connection.execute(OVERDUE, {"now": now, "due": due, "limit": limit}).fetchall()
        return [_upload(row) for row in sorted(rows, key=lambda row: row["created_at"])]

    def reserved(self, tenant_id: str) -> Storage:
        with self._connections.platform() as connection:
            return Storage(**connection.execute(RESERVED, [tenant_id]).fetchall()[0])

    def forget(self, ended_before: datetime, limit: int) -> int:
        with self._connections.platform() as connection:
            return connection.execute(FORGET, [ended_before, limit]).rowcount

    def owners(self, roots: Sequence[str]) -> dict[str, str]:
        with self._connections.platform() as connection:
            rows = connection.execute(OWNERS, [list(roots)]).fetchall()
        return {row["storage_uri"]: row["id"] for row in rows}

    def _changed(self, statement: str, values: Any) -> bool:
        with self._connections.platform() as connection:
            return connection.execute(statement, values).rowcount == 1


def _error(refusal: Refusal | None) -> dict[str, Any]:
    if refusal is None:
        return {"code": None, "message": None, "retryable": None}
    return {"code": refusal.code, "message": as_text(refusal.message)[:1000], "retryable": refusal.retryable}


def _upload(row: dict[str, Any]) -> DirectUpload:
    code, message, retryable = (row.pop(f"error_{name}") for name in ("code", "message", "retryable"))
    refusal = Refusal(code, message, retryable) if code else None
    return DirectUpload(refusal=refusal, **row | {"tags": tuple(row["tags"])})
